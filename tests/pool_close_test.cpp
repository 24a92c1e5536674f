// close() and async_drain(): how a pool ends, and what becomes of its calls.

#include "support/catch.hpp"
#include "support/counts.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <optional>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using test::counted;
using test::counts;
using test::error_of;
using test::hangs_or_gives;

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

TEST_CASE("a pool whose context is gone says that it is closed", "[pool][close]")
{
    const test::leaves_nothing guard;
    std::optional<asio::io_context> gone{std::in_place};
    cofork::pool pool{*gone, {.workers = 1}};
    gone.reset();
    asio::io_context context;
    CHECK(error_of(context, cofork::run(pool, test::square, 1)) == cofork::errc::pool_closed);
    CHECK(error_of(context, cofork::parallel(pool, test::square, test::numbers(9))) == cofork::errc::pool_closed);
    CHECK(error_of(context, cofork::run(pool, test::square, 1, cofork::options{.pause = -1s}))
        == cofork::errc::invalid_options);
    const std::vector<int> items = test::numbers(9);
    auto stream = cofork::stream(pool, test::square, items);
    CHECK(error_of(context, stream.next()) == cofork::errc::pool_closed);
}
