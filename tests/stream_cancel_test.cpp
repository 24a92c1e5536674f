// How a stream ends before its items do: it is left, destroyed, assigned to or closed; and next() is cancelled alone.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/streams.hpp"
#include "support/work.hpp"

#include <cofork/failure.hpp>
#include <cofork/pool.hpp>
#include <cofork/stream.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <utility>

using namespace std::chrono_literals;
using test::answer;
using test::code_of;
using test::into;
using test::rest_of;

TEST_CASE("destroying a stream kills and reaps its workers before it returns", "[stream][cancel]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> starts;
    const auto items = test::numbers(10);
    auto f = [&](int) -> int {
        ++*starts;
        test::hang();
    };
    asio::io_context context;
    {
        auto results = cofork::stream(context.get_executor(), f, items, {.workers = 2, .chunk = 1});
        REQUIRE(test::run_until(context, [&] { return *starts == 2; }));
        CHECK_FALSE(test::children().empty());
    }
    CHECK(test::children().empty());
    CHECK(test::run_until(context, [&] { return context.stopped(); })); // and it leaves no work behind
}

TEST_CASE("a consumer that throws leaves no workers", "[stream][cancel]")
{
    const test::leaves_nothing guard;
    auto consume = []() -> asio::awaitable<void> {
        auto results = cofork::stream(test::square, std::views::iota(0), {.workers = 2});
        co_await results.next();
        throw std::domain_error{"enough"};
    };
    CHECK_THROWS_AS(test::run(consume()), std::domain_error);
    CHECK(test::children().empty());
}

TEST_CASE("close() aborts a pending next(), drops the rest, and may come twice", "[stream][cancel]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(10);
    asio::io_context context;
    auto results = cofork::stream(context.get_executor(), [](int) -> int { test::hang(); }, items);
    answer pending;
    results.next(into(context, pending));
    context.poll();

    results.close();
    CHECK_FALSE(pending.came); // never from inside
    CHECK(test::children().empty());
    CHECK(test::run_until(context, [&] { return pending.came; }));
    CHECK(code_of(pending.error) == asio::error::operation_aborted);

    results.close();
    answer after;
    results.next(into(context, after));
    CHECK(test::run_until(context, [&] { return after.came; }));
    CHECK_FALSE(after.error);
    CHECK_FALSE(after.next.has_value());
}

TEST_CASE("a stream that was never asked may be closed, and gives nothing then", "[stream][cancel]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(10);
    auto results = cofork::stream(test::square, items);
    results.close();
    CHECK(test::run(rest_of(results)).empty());
}

TEST_CASE("cancelling next() ends that wait only, and loses nothing", "[stream][cancel]")
{
    const test::leaves_nothing guard;
    const auto type = GENERATE(
        asio::cancellation_type::terminal, asio::cancellation_type::partial, asio::cancellation_type::total);
    const test::shared<std::atomic<bool>> go;
    const auto items = test::numbers(5);
    auto f = [&](int x) { // work-under-test: as slow as it must be
        test::eventually([&] { return go->load(); }, 20s);
        return x;
    };
    asio::io_context context;
    auto results = cofork::stream(context.get_executor(), f, items);
    for (int i = 0; i < 3; ++i) {
        asio::cancellation_signal stop;
        answer a;
        results.next(asio::bind_cancellation_slot(stop.slot(), into(context, a)));
        context.poll();
        stop.emit(type);
        CHECK_FALSE(a.came);
        REQUIRE(test::run_until(context, [&] { return a.came; }));
        CHECK(code_of(a.error) == asio::error::operation_aborted);
    }
    *go = true;
    const auto all = test::run(context, rest_of(results));
    REQUIRE(all.size() == 5);
    for (std::size_t i = 0; i < 5; ++i)
        CHECK(all[i].index == i);
}

TEST_CASE("a stream may be moved while it runs, and a running one assigned to is ended", "[stream]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(30);
    asio::io_context context;
    auto first = cofork::stream(context.get_executor(), test::square, items, {.workers = 1, .window = 2});
    context.poll();
    auto second = std::move(first);
    CHECK(test::run(context, rest_of(second)).size() == 30);

    auto hanging = cofork::stream(context.get_executor(), test::square, items, {.workers = 1, .window = 2});
    REQUIRE(test::run_until(context, [] { return !test::children().empty(); }));
    hanging = cofork::stream(test::square, items);
    CHECK(test::children().empty());
    CHECK(test::run(context, rest_of(hanging)).size() == 30);
}

TEST_CASE("a stream may be destroyed from inside its own callbacks", "[stream][cancel]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(10);
    asio::io_context context;
    std::optional<cofork::result_stream<int>> results;
    bool dropped = false;
    auto drop = [&](const cofork::failure&) {
        results.reset();
        dropped = true;
    };
    results.emplace(cofork::stream(
        context.get_executor(), [](int) -> int { throw 1; }, items, {.workers = 2, .on_error = drop}));

    CHECK(test::run_until(context, [&] { return dropped && test::children().empty(); }));
    CHECK_FALSE(results.has_value());
}

TEST_CASE("in a pool, a stream that is left lets the others go on", "[stream][pool]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> starts;
    static std::atomic<int>* count = nullptr;
    count = &*starts;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    const auto items = test::numbers(20);
    {
        auto results = cofork::stream(
            pool,
            [](int) -> int {
                ++*count;
                test::hang();
            },
            items, {.chunk = 1});
        REQUIRE(test::run_until(context, [&] { return *starts == 2; }));
    }
    auto results = cofork::stream(pool, test::square, items, {.window = 4});
    const auto all = test::run(context, rest_of(results));
    CHECK(all.size() == 20);
    CHECK(*starts == 2);
    CHECK(test::run_until(context, [&] { return pool.stats().calls == 0; }));
}
