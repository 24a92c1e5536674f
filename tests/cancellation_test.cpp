// How a call is cancelled: terminal cancellation kills what runs, partial and total let it end; early, late, by others.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/failure.hpp>
#include <cofork/outcome.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

using namespace std::chrono_literals;
using asio::cancellation_type;
using test::code_of;
using test::hangs;

namespace {

/// A timer against items that never end, longer and longer until one has started.
asio::awaitable<void> cut_short_by_a_timer(std::atomic<int>& starts)
{
    using namespace asio::experimental::awaitable_operators;
    const auto f = [&starts](int) { // captures: only a snapshot takes it
        ++starts;
        test::hang();
    };
    const std::vector<int> items = test::numbers(10);
    asio::steady_timer timer{co_await asio::this_coro::executor};
    for (auto patience = 1ms; starts == 0; patience *= 2) {
        timer.expires_after(patience);
        const auto first = co_await (cofork::parallel(f, items, {.workers = 2}) || timer.async_wait(asio::use_awaitable));
        CHECK(first.index() == 1);
        CHECK(test::children().empty());
    }
}

/// A timer that is far longer than the call.
asio::awaitable<std::vector<int>> faster_than_a_timer()
{
    using namespace asio::experimental::awaitable_operators;
    const std::vector<int> items = test::numbers(5);
    asio::steady_timer timer{co_await asio::this_coro::executor, 10 * test::long_enough};
    auto first = co_await (cofork::parallel(test::square, items, {.workers = 2}) || timer.async_wait(asio::use_awaitable));
    REQUIRE(first.index() == 0);
    co_return std::get<0>(std::move(first));
}

} // namespace

TEST_CASE("terminal cancellation kills what runs, and the call completes with operation_aborted", "[token][cancel]")
{
    const test::leaves_nothing guard;
    const bool in_pool = GENERATE(false, true);
    const bool early = GENERATE(false, true);
    asio::io_context context;
    std::optional<cofork::pool> pool;
    if (in_pool)
        pool.emplace(context, cofork::pool_options{.workers = 2});
    const auto items = test::numbers(10);
    asio::cancellation_signal stop;
    bool came = false;
    std::exception_ptr error;
    auto handler = asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, std::vector<int>) {
        came = true;
        error = e;
    });
    if (in_pool)
        cofork::parallel(*pool, hangs, items, {.workers = 2}, handler);
    else
        cofork::parallel(context.get_executor(), hangs, items, {.workers = 2}, handler);
    if (!early)
        REQUIRE(test::run_until(context, [&] { return in_pool ? pool->stats().busy > 0 : !test::children().empty(); }));

    stop.emit(cancellation_type::terminal);
    CHECK_FALSE(came);
    CHECK(test::run_until(context, [&] { return came; }));
    CHECK(code_of(error) == asio::error::operation_aborted);
    if (in_pool)
        CHECK(test::run(context, cofork::run(*pool, test::square, 2)) == 4);
    else
        CHECK(test::children().empty());
}

TEST_CASE("a snapshot call || timer ends with the first of both, and the other is cancelled", "[token][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const test::shared<std::atomic<int>> starts;
    test::run(context, cut_short_by_a_timer(*starts));
    CHECK(test::run(context, faster_than_a_timer()) == std::vector{0, 1, 4, 9, 16});
    test::runs_dry(context); // the long timer is gone too
}

TEST_CASE("partial and total cancellation let what runs end, and start nothing new", "[token][cancel]")
{
    const test::leaves_nothing guard;
    const auto type = GENERATE(cancellation_type::partial, cancellation_type::total);
    struct counts {
        std::atomic<int> starts;
        std::atomic<int> ends;
        std::atomic<bool> go;
    };
    const test::shared<counts> seen;
    asio::io_context context;
    const auto items = test::numbers(20);
    auto f = [&](int x) {
        ++seen->starts;
        test::eventually([&] { return seen->go.load(); }, 20s); // work-under-test: as slow as it must be
        ++seen->ends;
        return x;
    };
    asio::cancellation_signal stop;
    std::optional<std::error_code> ended;
    std::vector<cofork::outcome<int>> got;
    cofork::try_parallel(context.get_executor(), f, items, {.workers = 2, .chunk = 5},
        asio::bind_cancellation_slot(stop.slot(), [&](std::error_code ec, std::vector<cofork::outcome<int>> outcomes) {
            ended = ec;
            got = std::move(outcomes);
        }));
    REQUIRE(test::run_until(context, [&] { return seen->starts == 2; }));

    stop.emit(type);
    context.run_for(20ms);
    CHECK_FALSE(ended.has_value()); // two still run
    seen->go = true;
    CHECK(test::run_until(context, [&] { return ended.has_value(); }));
    CHECK(*ended == asio::error::operation_aborted);
    CHECK(seen->starts == 2);
    CHECK(seen->ends == 2);
    REQUIRE(got.size() == 20);
    int values = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        if (got[i])
            ++values;
        else {
            CHECK(got[i].error().kind == cofork::failure_kind::cancelled);
            CHECK(got[i].error().index == i);
        }
    }
    CHECK(values == 2);
}

TEST_CASE("terminal cancellation after a gentle one kills", "[token][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const test::shared<std::atomic<int>> starts;
    const auto items = test::numbers(5);
    auto f = [&](int) -> int {
        ++*starts;
        test::hang();
    };
    asio::cancellation_signal stop;
    std::optional<std::error_code> ended;
    cofork::parallel(context.get_executor(), f, items, {.workers = 1},
        asio::bind_cancellation_slot(
            stop.slot(), [&](std::exception_ptr e, std::vector<int>) { ended = code_of(e); }));
    REQUIRE(test::run_until(context, [&] { return *starts == 1; })); // what has not begun would not begin any more
    stop.emit(cancellation_type::total);
    context.run_for(20ms);
    CHECK_FALSE(ended.has_value());
    stop.emit(cancellation_type::terminal);
    CHECK(test::run_until(context, [&] { return ended.has_value(); }));
    CHECK(*ended == asio::error::operation_aborted);
}

TEST_CASE("cancellation after the end, and without a start, does nothing", "[token][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(5);
    asio::cancellation_signal stop;
    int calls = 0;
    cofork::parallel(context.get_executor(), test::square, items, {},
        asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, std::vector<int>) {
            CHECK_FALSE(e);
            ++calls;
        }));
    context.run_for(test::long_enough);
    stop.emit(cancellation_type::terminal);
    context.restart();
    context.run_for(10ms);
    CHECK(calls == 1);
}

TEST_CASE("a call that loses a race against a timer leaves nothing running", "[token][cancel]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(1u, 3u);
    asio::io_context context;
    const auto items = test::numbers(10);
    auto call = [](const std::vector<int>& all, unsigned n) -> asio::awaitable<void> {
        co_await cofork::parallel(hangs, all, {.workers = n});
    };
    asio::cancellation_signal stop;
    std::optional<std::error_code> ended;
    asio::co_spawn(context, call(items, workers),
        asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e) { ended = code_of(e); }));
    asio::steady_timer timer{context, 30ms};
    timer.async_wait([&](std::error_code) { stop.emit(cancellation_type::terminal); });

    context.run_for(test::long_enough);
    REQUIRE(ended.has_value());
    CHECK(*ended == asio::error::operation_aborted);
    CHECK(test::children().empty());
    CHECK(context.stopped());
}

TEST_CASE("cancellation from other threads ends calls, and no call is lost", "[token][threads][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context{4};
    cofork::pool pool{context, {.workers = 2}};
    const auto items = test::numbers(200);
    std::atomic<int> ended{0};
    constexpr int n = 24;
    std::vector<std::unique_ptr<asio::cancellation_signal>> stops;
    for (int i = 0; i < n; ++i) {
        stops.push_back(std::make_unique<asio::cancellation_signal>());
        const auto strand = asio::make_strand(context);
        asio::post(strand, [&, strand, stop = stops.back().get()] {
            cofork::parallel(pool, test::square, items, {.chunk = 1},
                asio::bind_cancellation_slot(stop->slot(),
                    asio::bind_executor(strand, [&](std::exception_ptr, std::vector<int>) { ++ended; })));
            asio::post(strand, [stop] { stop->emit(cancellation_type::terminal); });
        });
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] { context.run_for(test::long_enough); });
    for (auto& t : threads)
        t.join();
    CHECK(ended == n);
}
