// pool: workers that stay, their state, their replacement, and the pool's end.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/cofork.hpp>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using cofork::failure_kind;

namespace {

int pid_of_worker(int)
{
    return ::getpid();
}

int hangs_or_gives(int x)
{
    if (x < 0)
        test::hang();
    return x;
}

// What functions of a pool count: they have no captures, so it is found by name.
struct counts {
    std::atomic<int> starts;
    std::atomic<int> inits;
    std::atomic<int> now;
    std::atomic<int> most;
};
counts* counted = nullptr;

template <typename Call>
std::error_code error_of(asio::io_context& context, Call call)
{
    try {
        test::run(context, std::move(call));
    }
    catch (const std::system_error& e) {
        UNSCOPED_INFO(e.what());
        return e.code();
    }
    return {};
}

} // namespace

TEST_CASE("all verbs work in a pool, call after call", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    const auto items = test::numbers(500);

    for (int round = 0; round < 3; ++round) {
        const auto squares = test::run(context, cofork::parallel(pool, test::square, items));
        REQUIRE(squares.size() == 500);
        for (std::size_t i = 0; i < 500; ++i)
            REQUIRE(squares[i] == test::square(items[i]));
        const auto outcomes = test::run(context, cofork::try_parallel(pool, test::square, items, {.workers = 1}));
        REQUIRE(outcomes.size() == 500);
        CHECK(outcomes[499].value() == test::square(499));
        CHECK(test::run(context, cofork::run(pool, test::square, 12)) == 144);
        CHECK(test::run(context, cofork::try_run(pool, test::square, 12)).value() == 144);
        test::run(context, cofork::parallel(pool, [](int) {}, items));
    }
    CHECK(pool.stats().done == 3 * 1502);
    CHECK(pool.stats().spawned <= 2);
    CHECK(pool.stats().busy == 0);
    test::runs_dry(context);
}

TEST_CASE("workers stay between calls", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};

    const int first = test::run(context, cofork::run(pool, pid_of_worker, 0));
    const int second = test::run(context, cofork::run(pool, pid_of_worker, 0));
    CHECK(first == second);
    CHECK(first != ::getpid());
    CHECK(pool.stats().spawned == 1);
    test::runs_dry(context);
}

TEST_CASE("a pool's workers see the memory of the moment when it was made", "[pool]")
{
    const test::leaves_nothing guard;
    static int value = 0;
    value = 1;
    asio::io_context context;
    cofork::pool pool{context};
    value = 2;
    CHECK(test::run(context, cofork::run(pool, [] { return value; })) == 1);
    CHECK(test::run(context, cofork::run([] { return value; })) == 2);
    test::runs_dry(context);
}

TEST_CASE("items and results of all kinds travel", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    const std::vector<std::map<std::string, std::vector<double>>> items{
        {}, {{"a", {1, 2}}, {std::string(10'000, 'x'), {3}}}};
    auto sums = [](const std::map<std::string, std::vector<double>>& m) {
        std::map<std::string, double> all;
        for (const auto& [name, values] : m)
            all[name] = std::accumulate(values.begin(), values.end(), 0.0);
        return all;
    };

    const auto results = test::run(context, cofork::parallel(pool, sums, items));

    REQUIRE(results.size() == 2);
    CHECK(results[0].empty());
    CHECK(results[1].at("a") == 3);
    CHECK(results[1].at(std::string(10'000, 'x')) == 3);
    test::runs_dry(context);
}

TEST_CASE("by_bytes carries plain captures to a pool", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context};
    const auto items = test::numbers(100);
    int factor = 3;
    long offset = 1000;

    const auto results = test::run(
        context,
        cofork::parallel(pool, cofork::by_bytes([factor, offset](int x) { return factor * x + offset; }), items));

    CHECK(results[99] == 1297);
    test::runs_dry(context);
}

TEST_CASE("each worker makes its state once, and f gets it as its first argument", "[pool][init]")
{
    const test::leaves_nothing guard;
    const test::shared<counts> shared;
    counted = &*shared;
    struct state {
        std::string name;
        int uses;
    };
    asio::io_context context;
    const std::string name = "captured"; // init may capture what it likes: it is inherited
    cofork::pool pool{context, {.workers = 2, .init = [name] {
                                    ++counted->inits;
                                    return state{name, 0};
                                }}};
    const auto items = test::numbers(200);
    auto f = [](state& s, int x) {
        ++s.uses;
        return std::pair{s.name + std::to_string(x), ::getpid()};
    };

    const auto results = test::run(context, cofork::parallel(pool, f, items));
    std::set<int> pids;
    for (std::size_t i = 0; i < 200; ++i) {
        CHECK(results[i].first == "captured" + std::to_string(i));
        pids.insert(results[i].second);
    }
    CHECK(static_cast<std::size_t>(shared->inits) >= pids.size());
    CHECK(shared->inits <= 2);

    const auto uses = [](state& s, int) { return s.uses; };
    CHECK(test::run(context, cofork::run(pool, uses, 0)) > 0); // it lives as long as the worker
    CHECK(test::run(context, cofork::run(pool, test::square, 3)) == 9); // f need not take it
    test::runs_dry(context);
}

TEST_CASE("an f whose state the pool does not make is refused", "[pool][init]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool without{context};
    cofork::pool of_ints{context, {.init = [] { return 5; }}};
    auto f = [](std::string& s, int) { return s; };
    auto g = [](int& i, int x) { return i + x; };
    const auto items = test::numbers(3);

    CHECK(error_of(context, cofork::parallel(without, f, items)) == cofork::errc::invalid_options);
    CHECK(error_of(context, cofork::parallel(of_ints, f, items)) == cofork::errc::invalid_options);
    CHECK(test::run(context, cofork::parallel(of_ints, g, items)) == std::vector<int>{5, 6, 7});
    test::runs_dry(context);
}

TEST_CASE("an init that throws or crashes fails the call, not the program", "[pool][init][fault][F50]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(3);
    SECTION("it throws")
    {
        cofork::pool pool{context, {.workers = 2, .init = []() -> int { throw std::runtime_error{"no database"}; }}};
        try {
            test::run(context, cofork::parallel(pool, test::square, items));
            FAIL("it was to throw");
        }
        catch (const std::system_error& e) {
            CHECK(e.code() == cofork::errc::boot_failed);
            CHECK_THAT(e.what(), ContainsSubstring("no database"));
        }
    }
    SECTION("it crashes")
    {
        cofork::pool pool{context, {.workers = 2, .init = []() -> int { std::abort(); }}};
        CHECK(error_of(context, cofork::parallel(pool, test::square, items)) == cofork::errc::boot_failed);
    }
    test::runs_dry(context);
}

namespace {

std::atomic<int>* makings = nullptr;

} // namespace

TEST_CASE("an init that fails the first times and then works is not noticed", "[pool][init][fault][F51]")
{
    const test::leaves_nothing guard;
    const bool crashes = GENERATE(false, true);
    CAPTURE(crashes);
    test::shared<std::atomic<int>> tries;
    makings = &*tries;
    asio::io_context context;
    const auto make = [crashes] {
        if (++*makings > 3)
            return 7;
        if (crashes)
            std::abort();
        throw std::runtime_error{"not yet"};
    };
    cofork::pool pool{context, {.workers = 2, .init = make}};
    const auto items = test::numbers(50);
    CHECK(test::run(context, cofork::parallel(pool, test::square, items)).back() == test::square(49));
    CHECK(tries->load() > 3);
    test::runs_dry(context);
}

TEST_CASE("a worker is replaced after max_items", "[pool][F53]")
{
    const test::leaves_nothing guard;
    const std::size_t max_items = GENERATE(1u, 5u);
    const std::size_t chunk = GENERATE(0u, 1u, 8u);
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2, .max_items = max_items}};
    const auto items = test::numbers(43);

    const auto pids = test::run(context, cofork::parallel(pool, pid_of_worker, items, {.chunk = chunk}));

    std::map<int, std::size_t> uses;
    for (const int pid : pids)
        ++uses[pid];
    for (const auto& [pid, n] : uses)
        CHECK(n <= max_items);
    test::runs_dry(context);
}

TEST_CASE("a fresh pool gives every item a process of its own", "[pool]")
{
    const test::leaves_nothing guard;
    const std::size_t chunk = GENERATE(0u, 8u);
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2, .fresh = true}};
    const auto items = test::numbers(20);

    const auto pids = test::run(context, cofork::parallel(pool, pid_of_worker, items, {.chunk = chunk}));
    CHECK(std::set<int>(pids.begin(), pids.end()).size() == 20);
    test::runs_dry(context);
}

TEST_CASE("fresh gives every item of one call a process of its own, also in a pool", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
    const auto of_pool = test::run(context, cofork::parallel(pool, pid_of_worker, test::numbers(50)));
    const std::set<int> before(of_pool.begin(), of_pool.end());

    const auto fresh = test::run(context, cofork::parallel(pool, pid_of_worker, test::numbers(12), {.fresh = true}));
    const std::set<int> own(fresh.begin(), fresh.end());
    CHECK(own.size() == 12);
    for (const int pid : before)
        CHECK_FALSE(own.contains(pid));
    for (const int pid : test::run(context, cofork::parallel(pool, pid_of_worker, test::numbers(50))))
        CHECK_FALSE(own.contains(pid));
}

TEST_CASE("a crash costs a pool one item and one worker", "[pool][fault]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    const auto items = test::numbers(30);
    auto f = [](int x) {
        if (x == 7)
            std::raise(SIGSEGV);
        if (x == 9)
            test::hang();
        return x;
    };

    for (int round = 0; round < 3; ++round) {
        const auto outcomes = test::run(context, cofork::try_parallel(pool, f, items, {.timeout = 100ms}));
        for (std::size_t i = 0; i < 30; ++i) {
            INFO("item " << i << (outcomes[i] ? "" : ": " + describe(outcomes[i].error())));
            CHECK(outcomes[i].has_value() == (i != 7 && i != 9));
        }
        CHECK(outcomes[7].error().signal == SIGSEGV);
        CHECK(outcomes[9].error().kind == failure_kind::timeout);
    }
    const auto stats = pool.stats();
    CHECK(stats.killed >= 3);
    CHECK(stats.ended >= 6);
    test::runs_dry(context);
}

TEST_CASE("a worker that is killed while it idles is replaced", "[pool][fault]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    const int first = test::run(context, cofork::run(pool, pid_of_worker, 0));

    ::kill(first, SIGKILL);
    const int second = test::run(context, cofork::run(pool, pid_of_worker, 0));
    CHECK(first != second);
    CHECK(test::run(context, cofork::parallel(pool, test::square, test::numbers(20))).size() == 20);
    test::runs_dry(context);
}

TEST_CASE("an idle pool gives its context no work", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    CHECK(context.run_for(test::long_enough) == 0);
    CHECK(test::run(context, cofork::parallel(pool, test::square, test::numbers(20))).size() == 20);
    context.restart();
    context.run_for(test::long_enough);
    CHECK(context.stopped());
    CHECK(pool.stats().workers > 0);
    test::runs_dry(context);
}

TEST_CASE("several calls share a pool, and a long one does not hold up a short one", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    std::error_code first_ended;
    bool over = false;
    const std::vector<int> hanging(10, -1);
    cofork::parallel(pool, hangs_or_gives, hanging, {.workers = 1, .deadline = 400ms},
        [&](std::exception_ptr e, std::vector<int>) {
            over = true;
            try {
                std::rethrow_exception(e);
            }
            catch (const std::system_error& error) {
                first_ended = error.code();
            }
        });

    for (int i = 0; i < 5; ++i)
        CHECK(test::run(context, cofork::parallel(pool, test::square, test::numbers(50))).size() == 50);
    CHECK_FALSE(over);
    CHECK(test::run_until(context, [&] { return over; }));
    CHECK(first_ended == cofork::errc::deadline);
    test::runs_dry(context);
}

TEST_CASE("options::workers caps what a call takes of a pool", "[pool]")
{
    const test::leaves_nothing guard;
    const test::shared<counts> shared;
    counted = &*shared;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 4}};
    auto f = [](int) {
        const int now = ++counted->now;
        for (int most = counted->most; most < now && !counted->most.compare_exchange_weak(most, now);) {
        }
        // work-under-test: waits for the others, who come soon if they may
        test::eventually([] { return counted->most >= 2; }, 2s);
        --counted->now;
    };
    test::run(context, cofork::parallel(pool, f, test::numbers(16), {.workers = 2}));
    CHECK(shared->most == 2);
    test::runs_dry(context);
}

TEST_CASE("close() ends calls in progress, reaps, and refuses new ones", "[pool][close]")
{
    const test::leaves_nothing guard;
    const bool by_destructor = GENERATE(false, true);
    asio::io_context context;
    std::optional<cofork::pool> pool;
    pool.emplace(context, cofork::pool_options{.workers = 2});
    const std::vector<int> hanging(10, -1);
    std::exception_ptr ended;
    cofork::parallel(*pool, hangs_or_gives, hanging, {}, [&](std::exception_ptr e, std::vector<int>) { ended = e; });
    REQUIRE(test::run_until(context, [&] { return pool->stats().busy > 0; }));

    if (by_destructor)
        pool.reset();
    else
        pool->close();
    CHECK(test::children().empty());
    CHECK_FALSE(ended); // never from inside

    CHECK(test::run_until(context, [&] { return ended != nullptr; }));
    try {
        std::rethrow_exception(ended);
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::pool_closed);
    }
    if (pool) {
        pool->close();
        CHECK(error_of(context, cofork::run(*pool, test::square, 1)) == cofork::errc::pool_closed);
        CHECK(error_of(context, cofork::parallel(*pool, test::square, test::numbers(9))) == cofork::errc::pool_closed);
    }
    test::runs_dry(context);
}

TEST_CASE("a pool may be closed from a callback of its own call", "[pool][close]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    auto close = [&](const cofork::failure&) { pool.close(); };
    auto f = [](int x) {
        if (x == 5)
            throw std::runtime_error{"five"};
        return x;
    };
    CHECK(error_of(context, cofork::parallel(pool, f, test::numbers(100), {.on_error = close})) == cofork::errc::pool_closed);
    CHECK(test::run_until(context, [] { return test::children().empty(); }));
    test::runs_dry(context);
}

TEST_CASE("async_drain lets calls in progress end, and refuses new ones", "[pool][close]")
{
    const test::leaves_nothing guard;
    const test::shared<counts> shared;
    counted = &*shared;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    std::vector<int> values;
    bool drained = false;
    cofork::parallel(
        pool,
        [](int x) { // work-under-test: as slow as it must be
            test::eventually([] { return counted->now == 1; }, 20s);
            return x;
        },
        test::numbers(4), {}, [&](std::exception_ptr, std::vector<int> v) {
            CHECK_FALSE(drained);
            values = std::move(v);
        });
    REQUIRE(test::run_until(context, [&] { return pool.stats().busy > 0; }));

    pool.async_drain([&](std::error_code ec) {
        CHECK_FALSE(ec);
        drained = true;
    });
    CHECK(error_of(context, cofork::run(pool, test::square, 1)) == cofork::errc::pool_closed);
    CHECK_FALSE(drained);
    shared->now = 1;
    CHECK(test::run_until(context, [&] { return drained; }));
    CHECK(values == test::numbers(4));
    CHECK(test::children().empty());
    test::runs_dry(context);
}

TEST_CASE("a drain that a close overtakes completes, and so does each of several", "[pool][close]")
{
    // Broke: close() forgot the drain, and a second drain forgot the first.
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    int calls = 0, drains = 0;
    const auto count = [&](std::error_code) { ++drains; };
    cofork::run(pool, [](int) { test::hang(); }, 1, [&](std::exception_ptr e) { calls += e ? 1 : 0; });
    pool.async_drain(count);
    pool.async_drain(count);
    context.poll();
    CHECK(drains == 0);

    pool.close();

    context.restart();
    context.run_for(test::long_enough);
    CHECK(calls == 1);
    CHECK(drains == 2);
    test::runs_dry(context);
}

TEST_CASE("an idle pool drains at once, also twice", "[pool][close]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context};
    test::run(context, pool.async_drain());
    CHECK(test::children().empty());
    test::run(context, pool.async_drain());
    test::runs_dry(context);
}

TEST_CASE("a pool is refused while threads run, and with senseless options", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    try {
        cofork::pool none{context, {.workers = 0}};
        FAIL("it was to throw");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::invalid_options);
    }

    std::mutex mutex;
    std::condition_variable ended;
    bool over = false;
    std::thread other{[&] {
        std::unique_lock lock{mutex};
        ended.wait(lock, [&] { return over; });
    }};
    try {
        cofork::pool late{context};
        FAIL("it was to throw");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::threads_running);
    }
    {
        cofork::pool all_the_same{context, {.workers = 1, .with_threads = true}};
        CHECK(test::run(context, cofork::run(all_the_same, test::square, 4)) == 16);
    }
    {
        const std::lock_guard lock{mutex};
        over = true;
    }
    ended.notify_one();
    other.join();
    test::runs_dry(context);
}

TEST_CASE("wait runs the context of a pool that nobody runs", "[pool][wait]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context};
    for (int i = 0; i < 3; ++i)
        CHECK(cofork::wait(cofork::parallel(pool, test::square, test::numbers(40))).size() == 40);
    CHECK(cofork::wait(cofork::run(pool, test::square, 5)) == 25);
    test::runs_dry(context);
}

TEST_CASE("a pool may be made and destroyed unused", "[pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    for (int i = 0; i < 10; ++i)
        cofork::pool{context};
    test::runs_dry(context);
}
