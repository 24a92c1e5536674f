// One pool under a context that several threads run: used from strands and from threads of their own, all at once.

#include "support/faults.hpp"

#include <cofork/cofork.hpp>

#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/execution/blocking.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/steady_timer.hpp>
#include <asio/require.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>

#include <future>
#include <ranges>
#include <system_error>
#include <thread>

namespace {

using namespace std::chrono_literals;
using strand = asio::strand<asio::io_context::executor_type>;

/// Catch2 counts on one thread only: what the others find is noted here, and judged at the end.
struct tally {
    std::atomic<int> over{0};
    std::atomic<int> right{0};
    std::atomic<int> cut_short{0};
    std::atomic<int> wrong{0};

    void note(bool as_it_should) { ++(as_it_should ? right : wrong); }
};

/// Threads that run a context, besides the test's own, which does so in run_until.
class threads_of {
public:
    explicit threads_of(asio::io_context& context, int count = 3) : context_{context}, work_{asio::make_work_guard(context)}
    {
        for (; count > 0; --count)
            threads_.emplace_back([this] {
                context_.run();
                ++returned_;
            });
    }
    ~threads_of()
    {
        context_.stop(); // of a test that has failed
        for (std::thread& each : threads_) {
            if (each.joinable())
                each.join();
        }
    }
    threads_of(const threads_of&) = delete;
    threads_of& operator=(const threads_of&) = delete;

    /// An idle pool has nothing pending: every thread comes back by itself.
    void require_all_return()
    {
        work_.reset();
        REQUIRE(test::eventually([this] { return returned_ == threads_.size(); }, test::long_enough));
        for (std::thread& each : threads_)
            each.join();
    }

private:
    asio::io_context& context_;
    asio::executor_work_guard<asio::io_context::executor_type> work_;
    std::atomic<std::size_t> returned_{0};
    std::vector<std::thread> threads_;
};

/// Joins when the test leaves, however it does.
class joined_thread {
public:
    template <typename Body>
    explicit joined_thread(Body body) : thread_{std::move(body)}
    {
    }
    ~joined_thread() { join(); }
    joined_thread(const joined_thread&) = delete;
    joined_thread& operator=(const joined_thread&) = delete;

    void join()
    {
        if (thread_.joinable())
            thread_.join();
    }

private:
    std::thread thread_;
};

int twice_or_never(int x)
{
    if (x < 0)
        test::hang();
    return 2 * x;
}

int twice_or_crash(int x)
{
    if (x % 7 == 3)
        ::raise(SIGKILL);
    return 2 * x;
}

bool all_twice(const std::vector<int>& values, std::size_t count)
{
    bool right = values.size() == count;
    for (std::size_t i = 0; right && i < count; ++i)
        right = values[i] == 2 * static_cast<int>(i);
    return right;
}

asio::awaitable<void> use_every_verb(cofork::pool& pool, strand mine, int rounds, tally& found)
{
    for (int n = 0; n < rounds; ++n) {
        const std::vector<int> items = test::numbers(5 + n);
        const auto values = co_await cofork::parallel(pool, test::twice, items);
        found.note(mine.running_in_this_thread() && all_twice(values, items.size()));

        const auto outcomes = co_await cofork::try_parallel(pool, twice_or_crash, items, cofork::options{.chunk = 2});
        bool right = mine.running_in_this_thread() && outcomes.size() == items.size();
        for (std::size_t i = 0; right && i < outcomes.size(); ++i)
            right = i % 7 == 3 ? !outcomes[i] && outcomes[i].error().signal == SIGKILL : *outcomes[i] == 2 * items[i];
        found.note(right);

        const int one = co_await cofork::run(pool, test::twice, n);
        found.note(mine.running_in_this_thread() && one == 2 * n);

        // It is left in the middle, with items running and results unread.
        auto results = cofork::stream(pool, test::twice, std::views::iota(0), cofork::options{.window = 8});
        for (std::size_t i = 0; i < 5; ++i) {
            const auto next = co_await results.next();
            found.note(mine.running_in_this_thread() && next && next->index == i && *next->outcome == 2 * static_cast<int>(i));
        }
    }
}

/// Every other call has an item that never ends: the timer must win there, and anything may elsewhere.
asio::awaitable<void> cancel_by_timer(cofork::pool& pool, strand mine, int rounds, tally& found)
{
    using namespace asio::experimental::awaitable_operators;
    for (int n = 0; n < rounds; ++n) {
        std::vector<int> items = test::numbers(20);
        if (n % 2 == 0)
            items[static_cast<std::size_t>(n) % items.size()] = -1;
        asio::steady_timer timer{mine, n * 200us};
        const auto first = co_await (cofork::parallel(pool, twice_or_never, items) || timer.async_wait(asio::use_awaitable));
        found.note(mine.running_in_this_thread() && (first.index() == 1 || (n % 2 == 1 && all_twice(std::get<0>(first), 20))));
        found.cut_short += first.index() == 1 ? 1 : 0;
    }
}

/// Until the pool refuses: from then on it always does.
asio::awaitable<void> call_until_refused(cofork::pool& pool, strand mine, tally& found)
{
    const std::vector<int> items = test::numbers(40);
    for (int refused = 0; refused < 3;) {
        std::error_code why;
        try {
            const auto values = co_await cofork::parallel(pool, test::twice, items);
            found.note(mine.running_in_this_thread() && refused == 0 && all_twice(values, items.size()));
        }
        catch (const std::system_error& e) {
            why = e.code();
        }
        if (why) {
            ++refused;
            ++found.cut_short;
            if (why != cofork::errc::pool_closed)
                ++found.wrong;
        }
    }
}

auto count_in(tally& found)
{
    return [&found](const std::exception_ptr& error) {
        found.wrong += error ? 1 : 0;
        ++found.over;
    };
}

} // namespace

TEST_CASE("one pool is used from several strands and threads at once", "[strands]")
{
    const test::leaves_nothing nothing;
    constexpr int strands = 6, rounds = 8, by_future = 60;
    asio::io_context context{4};
    cofork::pool pool{context, {.workers = 3}};
    tally found;
    threads_of threads{context};
    for (int n = 0; n < strands; ++n) {
        const strand mine = asio::make_strand(context);
        asio::co_spawn(mine, use_every_verb(pool, mine, rounds, found), count_in(found));
        asio::co_spawn(mine, cancel_by_timer(pool, mine, rounds, found), count_in(found));
    }
    joined_thread blocks{[&] {
        for (int n = 0; n < by_future; ++n)
            found.note(cofork::run(pool, test::twice, n, cofork::options{}, asio::use_future).get() == 2 * n);
        ++found.over;
    }};
    joined_thread looks{[&] {
        cofork::pool_stats before;
        for (unsigned n = 0; found.over < 2 * strands + 1; ++n) {
            pool.resize(1 + n % 3);
            const cofork::pool_stats now = pool.stats();
            if (now.ended > now.spawned || now.done < before.done || now.spawned < before.spawned)
                ++found.wrong;
            before = now;
            std::this_thread::yield();
        }
        pool.resize(3);
    }};

    REQUIRE(test::run_until(context, [&] { return found.over == 2 * strands + 1; }, 3 * test::long_enough));
    looks.join();
    blocks.join();
    CHECK(found.wrong == 0);
    CHECK(found.right == strands * rounds * (8 + 1) + by_future);
    CHECK(found.cut_short >= strands * rounds / 2);
    threads.require_all_return();
    CHECK(pool.stats().calls == 0);
    context.restart();
    test::still_works(context, pool);
}

TEST_CASE("a pool is drained or closed from a thread while strands call it", "[strands]")
{
    const test::leaves_nothing nothing;
    const bool drains = GENERATE(true, false);
    constexpr int strands = 6;
    asio::io_context context{4};
    cofork::pool pool{context, {.workers = 3}};
    tally found;
    std::atomic<int> drained{0};
    threads_of threads{context};
    for (int n = 0; n < strands; ++n) {
        const strand mine = asio::make_strand(context);
        asio::co_spawn(mine, call_until_refused(pool, mine, found), count_in(found));
    }
    REQUIRE(test::run_until(context, [&] { return found.right >= 10 * strands; }));
    joined_thread ends{[&] {
        if (drains)
            pool.async_drain(asio::bind_executor(context, [&](std::error_code why) { drained += why ? 100 : 1; }));
        else
            pool.close();
    }};

    CHECK(test::run_until(context, [&] { return found.over == strands && drained == (drains ? 1 : 0); }));
    ends.join();
    CHECK(found.wrong == 0);
    // What had begun is finished by a drain, and cut short by a close.
    CHECK(found.cut_short == 3 * strands);
    CHECK(test::workers().empty());
    threads.require_all_return();
}

TEST_CASE("a pool's strand does not wait in execute() where its program's executor would", "[strands]")
{
    const test::leaves_nothing guard;
    asio::thread_pool threads{1};
    const asio::any_io_executor waits = asio::require(threads.get_executor(), asio::execution::blocking.always);
    {
        cofork::pool pool{waits, {.workers = 1, .with_threads = true}};
        CHECK(pool.get_executor().target_type() == typeid(asio::strand<asio::any_io_executor>)); // not taken for an io_context's
        // Begun from here, where no thread of the context is: it holds the pool's lock, which that thread takes first.
        for (int i = 0; i < 20; ++i) {
            std::future<int> answer = cofork::run(pool, test::square, i, cofork::options{}, asio::use_future);
            REQUIRE(answer.wait_for(test::long_enough) == std::future_status::ready);
            CHECK(answer.get() == i * i);
        }
    }
    threads.join();
}

TEST_CASE("wait leaves a context that has threads of its own to them", "[strands][wait]")
{
    const test::leaves_nothing guard;
    asio::thread_pool threads{1};
    const auto here = std::this_thread::get_id();
    std::atomic<int> told{0}, told_here{0};
    {
        cofork::pool_options options{.workers = 1, .with_threads = true};
        options.on_event = [&](const cofork::event&) {
            ++told;
            told_here += std::this_thread::get_id() == here;
        };
        cofork::pool pool{threads.get_executor(), options};
        for (int i = 0; i < 100; ++i)
            CHECK(cofork::wait(cofork::run(pool, test::square, i)) == i * i);
    }
    threads.join();
    CHECK(told > 100);
    CHECK(told_here <= 1); // the end of the worker, of which it is told where the pool ends
}
