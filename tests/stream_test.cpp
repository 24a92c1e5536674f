// stream(): order, back-pressure, and what becomes of failures.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/streams.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/options.hpp>
#include <cofork/outcome.hpp>
#include <cofork/stream.hpp>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <system_error>
#include <vector>

using namespace std::chrono_literals;
using cofork::failure_kind;
using test::answer;
using test::into;
using test::rest_of;

namespace {

asio::awaitable<void> two_values_then_the_deadline(cofork::result_stream<int>& from)
{
    for (std::size_t i = 0; i < 2; ++i) {
        auto one = co_await from.next();
        REQUIRE(one.has_value());
        CHECK(one->index == i);
    }
    std::error_code ended;
    try {
        auto none = co_await from.next();
        FAIL("index " << none->index);
    }
    catch (const std::system_error& e) {
        ended = e.code();
    }
    CHECK(ended == cofork::errc::deadline);
    auto none = co_await from.next();
    CHECK_FALSE(none.has_value());
}

} // namespace

TEST_CASE("a stream gives every outcome once, in the order of the items", "[stream]")
{
    const test::leaves_nothing guard;
    const std::size_t window = GENERATE(0u, 1u, 3u, 1000u);
    const unsigned workers = GENERATE(1u, 3u);
    const auto items = test::numbers(300);
    auto results = cofork::stream(test::square, items, {.workers = workers, .window = window});

    const auto all = test::run(rest_of(results));

    REQUIRE(all.size() == 300);
    for (std::size_t i = 0; i < 300; ++i) {
        REQUIRE(all[i].index == i);
        REQUIRE(all[i].outcome.value() == test::square(items[i]));
    }
}

TEST_CASE("a stream in order of completion does not wait for a slow item", "[stream]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<bool>> others_done;
    const auto items = test::numbers(6);
    auto f = [&](int x) {
        if (x == 0) // work-under-test: as slow as it must be
            test::eventually([&] { return others_done->load(); }, 20s);
        return x;
    };
    auto results = cofork::stream(f, items, {.workers = 2, .chunk = 1, .delivery = cofork::order::finished});
    auto take = [](auto& from, auto& done) -> asio::awaitable<std::vector<std::size_t>> {
        std::vector<std::size_t> order;
        while (auto one = co_await from.next()) {
            order.push_back(one->index);
            if (order.size() == 5)
                *done = true;
        }
        co_return order;
    };

    auto order = test::run(take(results, others_done));

    REQUIRE(order.size() == 6);
    CHECK(order.back() == 0);
    std::sort(order.begin(), order.end());
    CHECK(order == std::vector<std::size_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("no more items are running or unread than the window", "[stream][window]")
{
    const test::leaves_nothing guard;
    const std::size_t window = GENERATE(1u, 2u, 5u, 8u);
    const auto delivery = GENERATE(cofork::order::given, cofork::order::finished);
    const test::shared<std::atomic<std::size_t>> starts;
    const auto items = test::numbers(40);
    auto f = [&](int x) {
        ++*starts;
        return x;
    };
    asio::io_context context;
    auto results =
        cofork::stream(context.get_executor(), f, items, {.workers = 2, .window = window, .delivery = delivery});

    // Nobody reads: it fills the window, and not more.
    REQUIRE(test::run_until(context, [&] { return *starts == window; }));
    for (std::size_t taken = 1; taken <= 40; ++taken) {
        answer a;
        results.next(into(context, a));
        REQUIRE(test::run_until(context, [&] { return a.came; }));
        REQUIRE(*starts <= taken + window);
    }
    CHECK(*starts == 40);
}

TEST_CASE("a slow first item keeps the window closed when the order is given", "[stream][window]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> starts;
    const test::shared<std::atomic<bool>> go;
    const auto items = test::numbers(20);
    auto f = [&](int x) {
        ++*starts;
        if (x == 0) // work-under-test: as slow as it must be
            test::eventually([&] { return go->load(); }, 20s);
        return x;
    };
    asio::io_context context;
    auto results = cofork::stream(context.get_executor(), f, items, {.workers = 2, .window = 4});
    answer first;
    results.next(into(context, first));

    REQUIRE(test::run_until(context, [&] { return *starts == 4; }));
    context.run_for(20ms); // a fifth would start now
    CHECK(*starts == 4);
    CHECK_FALSE(first.came);
    *go = true;
    CHECK(test::run_until(context, [&] { return first.came; }));
    CHECK(test::run(context, rest_of(results)).size() == 19);
}

TEST_CASE("of an endless range a stream takes what is asked for, and the window", "[stream][window]")
{
    const test::leaves_nothing guard;
    auto take_ten = []() -> asio::awaitable<int> {
        auto results = cofork::stream(test::square, std::views::iota(0), {.workers = 2, .window = 8});
        int sum = 0;
        for (int i = 0; i < 10; ++i) {
            auto one = co_await results.next();
            sum += one->outcome.value();
        }
        co_return sum;
    };

    CHECK(test::run(take_ten()) == 285);
    CHECK(test::children().empty());
}

TEST_CASE("a stream without a place starts at its first next(), one with an executor at once", "[stream]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> starts;
    const auto items = test::numbers(3);
    auto f = [&](int x) {
        ++*starts;
        return x;
    };
    asio::io_context context;
    {
        auto unasked = cofork::stream(f, items);
        context.poll();
        CHECK(test::children().empty());
    }
    CHECK(*starts == 0);

    auto eager = cofork::stream(context.get_executor(), f, items);
    CHECK(test::run_until(context, [&] { return *starts == 3; }));
    CHECK(test::run(context, rest_of(eager)).size() == 3);
}

TEST_CASE("a token that brings no executor is refused where the stream has none either", "[stream]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(3);
    auto results = cofork::stream(test::square, items);
    try {
        results.next([](std::exception_ptr, std::optional<cofork::indexed<int>>) {});
        FAIL("it was to throw");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::invalid_options);
    }
    CHECK(test::run(rest_of(results)).size() == 3); // and nothing is lost
}

TEST_CASE("failures are outcomes of their items, and the stream goes on", "[stream][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(20);
    auto f = [](int x) {
        if (x == 3)
            throw std::runtime_error{"three"};
        if (x == 7)
            std::raise(SIGSEGV);
        if (x == 11)
            test::hang();
        return x;
    };
    auto results = cofork::stream(f, items, {.workers = 2, .timeout = test::forks_are_slow ? 1000ms : 200ms});

    const auto all = test::run(rest_of(results));

    REQUIRE(all.size() == 20);
    for (const auto& one : all) {
        INFO(one.index);
        if (one.index == 3)
            CHECK(one.outcome.error().what == "three");
        else if (one.index == 7)
            CHECK(one.outcome.error().signal == SIGSEGV);
        else if (one.index == 11)
            CHECK(one.outcome.error().kind == failure_kind::timeout);
        else
            CHECK(one.outcome.value() == static_cast<int>(one.index));
    }
}

TEST_CASE("what ends a stream early is thrown once, after the outcomes that were there", "[stream][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(6);
    auto f = [](int x) {
        if (x == 2)
            test::hang();
        return x;
    };
    auto results = cofork::stream(f, items, {.workers = 1, .deadline = 200ms, .chunk = 1});
    test::run(two_values_then_the_deadline(results));
}

TEST_CASE("next() after the end gives nothing, as often as it is asked", "[stream]")
{
    const test::leaves_nothing guard;
    const std::vector<int> none;
    auto results = cofork::stream(test::square, none);
    asio::io_context context;
    CHECK(test::run(context, rest_of(results)).empty());
    for (int i = 0; i < 3; ++i) {
        answer a;
        results.next(into(context, a));
        CHECK(test::run_until(context, [&] { return a.came; }));
        CHECK_FALSE(a.error);
        CHECK_FALSE(a.next.has_value());
    }
}

TEST_CASE("a stream starts failed items again, behind the window", "[stream][retry]")
{
    const test::leaves_nothing guard;
    const test::shared<std::array<std::atomic<int>, 10>> starts;
    const auto items = test::numbers(10);
    auto f = [&](int x) {
        if (++(*starts)[static_cast<std::size_t>(x)] < 3 && x % 3 == 0)
            throw std::runtime_error{"again"};
        return x;
    };
    auto results = cofork::stream(f, items, {.workers = 2, .window = 3, .attempts = 3});

    const auto all = test::run(rest_of(results));

    REQUIRE(all.size() == 10);
    for (std::size_t i = 0; i < 10; ++i) {
        CHECK(all[i].index == i);
        CHECK(all[i].outcome.has_value());
        CHECK((*starts)[i] == (i % 3 == 0 ? 3 : 1));
    }
}

TEST_CASE("a snapshot that is refused is told at the first next()", "[stream][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(3);
    auto results = cofork::stream(test::square, items, {.attempts = 0});
    asio::io_context context;
    try {
        test::run(context, rest_of(results));
        FAIL("it was to throw");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::invalid_options);
    }
    CHECK(test::run(context, rest_of(results)).empty());
}
