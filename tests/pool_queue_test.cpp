// Many calls at once on one pool: whose turn it is, and who has to wait.

#include "support/faults.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/detached.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <thread>
#include <utility>

namespace {

using namespace std::chrono_literals;

int sleeps(int ms)
{
    std::this_thread::sleep_for(std::chrono::milliseconds{ms});
    return ms;
}

/// Starts a call and writes its name down when it is over.
template <typename Call>
void note(asio::io_context& context, Call call, char name, std::string& over)
{
    asio::co_spawn(
        context,
        [](Call c, char n, std::string& text) -> asio::awaitable<void> {
            try {
                (void)co_await std::move(c);
                text += n;
            }
            catch (const std::system_error& e) {
                text += e.code() == cofork::errc::overloaded ? '!' : e.code() == cofork::errc::deadline ? '#' : '?';
            }
        }(std::move(call), name, over),
        asio::detached);
}

} // namespace

TEST_CASE("items of calls with a higher priority start first", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .min_workers = 1}};
    std::string over;
    const std::vector<int> items(10, 5);
    note(context, cofork::parallel(pool, sleeps, items, {.chunk = 1}), 'a', over);
    note(context, cofork::parallel(pool, sleeps, items, {.chunk = 1, .priority = -1}), 'b', over);
    note(context, cofork::parallel(pool, sleeps, items, {.chunk = 1, .priority = 7}), 'c', over);
    note(context, cofork::run(pool, sleeps, 5, cofork::options{.priority = 9}), 'd', over);
    context.run();
    CHECK(over == "dcab");
}

TEST_CASE("calls of one priority take turns", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::string over;
    const std::vector<int> many(40, 3);
    const std::vector<int> few(4, 3);
    note(context, cofork::parallel(pool, sleeps, many, {.chunk = 1}), 'a', over);
    note(context, cofork::parallel(pool, sleeps, few, {.chunk = 1}), 'b', over);
    note(context, cofork::run(pool, sleeps, 3), 'c', over);
    context.run();
    CHECK(over == "cba");
}

// Those of cheap items sent the next batch behind the running one, and no worker was ever free for another call.
TEST_CASE("also calls of many cheap items take turns", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::string over;
    const std::vector<int> many(400, 1);
    const std::vector<int> few(20, 1);
    note(context, cofork::parallel(pool, sleeps, many), 'a', over);
    while (pool.stats().done < 50) // by then it is known that they are cheap
        context.run_one();
    for (const char name : {'b', 'c'})
        note(context, cofork::parallel(pool, sleeps, few), name, over);
    note(context, cofork::run(pool, sleeps, 1), 'd', over);
    context.run();
    std::ranges::sort(over.begin(), over.begin() + 3);
    CHECK(over == "bcda");
}

// What had been found empty once counted as wanting nothing, until a worker was free to ask it again: which one never was.
TEST_CASE("what is pushed to a feed has its turn beside a call of many cheap items", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
    std::string over;
    cofork::feed<int> feed;
    feed.push(1500);
    std::uint64_t answered = 0; // items of all calls, when the one that was pushed had its answer
    asio::co_spawn(
        context,
        [](cofork::pool& p, cofork::feed<int> source, std::uint64_t& done) -> asio::awaitable<void> {
            auto results = cofork::stream(p, sleeps, source, {.delivery = cofork::order::finished});
            const auto one = co_await results.next();
            CHECK(*one->outcome == 1);
            done = p.stats().done;
            (void)co_await results.next();
        }(pool, feed, answered),
        asio::detached);
    while (pool.stats().busy == 0)
        context.run_one();
    note(context, cofork::parallel(pool, sleeps, std::vector<int>(500, 1)), 'a', over);
    while (pool.stats().done < 50)
        context.run_one();
    feed.push(1);
    const auto before = pool.stats().done;
    context.run();
    CHECK(over == "a");
    CHECK(answered - before < 20);
}

TEST_CASE("a call that comes waits for the item that runs, and not for a long batch", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::string over;
    note(context, cofork::parallel(pool, sleeps, std::vector<int>(600, 1)), 'a', over);
    int waited = 0; // items of the first call, for ten calls
    asio::co_spawn(
        context,
        [](cofork::pool& p, int& items) -> asio::awaitable<void> {
            asio::steady_timer moment{co_await asio::this_coro::executor};
            for (int n = 0; n < 10; ++n) {
                moment.expires_after(25ms); // by then batches are long again
                co_await moment.async_wait(asio::use_awaitable);
                const auto before = p.worker_states().at(0).done;
                co_await cofork::run(p, sleeps, 0);
                items += static_cast<int>(p.worker_states().at(0).done - before) - 1;
            }
        }(pool, waited),
        asio::detached);
    context.run();
    CHECK(over == "a");
    UNSCOPED_INFO(waited);
    CHECK(waited < 45); // two batches of four each time, and what was done and not told: ten or more
}

TEST_CASE("calls that come and wait outside cost the one inside nothing", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .max_calls = 1}};
    std::string over;
    constexpr std::size_t size = 4 << 20;
    const std::vector<std::string> items(12, std::string(size, 'x'));
    const auto length = [](const std::string& s) { return s.size(); };
    note(context, cofork::parallel(pool, length, items), 'a', over);
    for (int n = 0; n < 50; ++n) {
        context.poll_one();
        note(context, cofork::run(pool, sleeps, 0), 'b', over);
    }
    context.run();
    CHECK(over == 'a' + std::string(50, 'b'));
    CHECK(pool.stats().sent < 14 * size); // each item once
}

TEST_CASE("calls beyond max_calls wait for their turn", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .max_calls = 1}};
    std::string over;
    const std::vector<int> items(10, 50);
    note(context, cofork::parallel(pool, sleeps, items, {.chunk = 1}), 'a', over);
    note(context, cofork::run(pool, sleeps, 1), 'b', over);
    note(context, cofork::run(pool, sleeps, 1, cofork::options{.priority = 1}), 'c', over);
    note(context, cofork::run(pool, sleeps, 1, cofork::options{.deadline = 150ms}), 'd', over);
    context.run_for(1ms);
    context.poll();
    CHECK(pool.stats().calls == 1);
    CHECK(pool.stats().waiting == 3);
    context.restart();
    context.run();
    CHECK(over == "#acb");
}

TEST_CASE("calls beyond max_calls fail at once where they are not to wait", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .max_calls = 2, .overload = cofork::when_full::fail}};
    std::string over;
    for (const char name : {'a', 'b', 'c', 'd'})
        note(context, cofork::run(pool, sleeps, 20), name, over);
    context.run();
    std::ranges::sort(over);
    CHECK(over == "!!ab");
    test::still_works(context, pool);
}

TEST_CASE("a call that waits is cancelled like any other", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .max_calls = 1}};
    std::string over;
    note(context, cofork::run(pool, sleeps, 50), 'a', over);
    asio::cancellation_signal stop;
    bool aborted = false;
    asio::co_spawn(context, cofork::run(pool, sleeps, 1), asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, int) {
        try {
            std::rethrow_exception(e);
        }
        catch (const std::system_error& why) {
            aborted = why.code() == asio::error::operation_aborted;
            CHECK(over.empty());
        }
    }));
    context.run_for(10ms);
    stop.emit(asio::cancellation_type::terminal);
    context.restart();
    context.run();
    CHECK(aborted);
    CHECK(over == "a");
}

TEST_CASE("a call ends at the moment that options::until names", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::string over;
    const auto soon = std::chrono::steady_clock::now() + 50ms;
    note(context, cofork::run(pool, sleeps, 5000, cofork::options{.until = soon}), 'a', over);
    note(context, cofork::run(sleeps, 5000, cofork::options{.until = soon}), 'b', over);
    const std::vector<int> items(50, 100);
    note(context, cofork::parallel(pool, sleeps, items, {.workers = 0, .until = soon}), 'c', over);
    context.run();
    CHECK(over == "###");
    CHECK(std::chrono::steady_clock::now() - soon < 2s);
}

namespace {

int quick(int)
{
    return 0;
}

/// Asks for a gentle end after the first item.
struct first_is_enough {
    asio::cancellation_signal& stop;
    bool asked = false;

    void update(const cofork::progress_state& p)
    {
        if (p.done > 0 && !std::exchange(asked, true))
            stop.emit(asio::cancellation_type::partial);
    }
};

} // namespace

// A read stayed pending on a worker from which everything had been taken back.
TEST_CASE("a call that is cancelled gently leaves nothing that keeps run() from returning", "[pool][queue]")
{
    const test::leaves_nothing nothing;
    for (int round = 0; round < 30; ++round) {
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 1}};
        asio::cancellation_signal stop;
        first_is_enough progress{stop};
        const std::vector<int> items(40);
        cofork::try_parallel(pool, quick, items, cofork::options{.chunk = 1, .progress = progress},
            asio::bind_cancellation_slot(stop.slot(), [](std::error_code, auto) {}));
        context.run_for(test::long_enough);
        REQUIRE(context.stopped());
        test::still_works(context, pool); // also when a cancelled read is still on its way
    }
}
