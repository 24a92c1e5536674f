// pool: workers that stay, their memory and their replacement, and how calls share them.

#include "support/catch.hpp"
#include "support/counts.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/by_bytes.hpp>
#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>
#include <cofork/wait.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <exception>
#include <map>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using cofork::failure_kind;
using test::counted;
using test::counts;
using test::hangs_or_gives;

namespace {

int pid_of_worker(int)
{
    return ::getpid();
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
