// A call is cancelled, or one failure ends what runs beside it: every call ends once, its running workers with it.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/faults.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/stuck_calls.hpp"
#include "support/work.hpp"

#include <cofork/failure.hpp>
#include <cofork/options.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

using namespace std::chrono_literals;
using cofork::failure_kind;
using test::all_gone;
using test::code_of;
using test::ended;
using test::now;
using test::shared_board;
using test::stuck;
using test::values;

TEST_CASE("a cancelled call ends once, its running workers with it", "[fault][F56][F57]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const bool in_pool = GENERATE(true, false);
    CAPTURE(in_pool);
    asio::cancellation_signal cancel;
    ended call;
    const values items = test::numbers(10);
    auto token = asio::bind_cancellation_slot(cancel.slot(), call.handler());
    if (in_pool)
        cofork::parallel(pool, stuck, items, {.chunk = 1}, std::move(token));
    else
        cofork::parallel(context.get_executor(), stuck, items, {.workers = 2, .chunk = 1}, std::move(token));
    REQUIRE(test::run_until(context, [] { return now->running == 2; }));

    cancel.emit(asio::cancellation_type::terminal);

    REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
    CHECK(code_of(call.error) == asio::error::operation_aborted);
    CHECK(all_gone(2));
    for (std::size_t i = 2; i < items.size(); ++i)
        CHECK(now->starts[i] == 0); // never sent
    test::still_works(context, pool);
    CHECK(call.times == 1);
}

TEST_CASE("a gentle cancellation lets what runs end and starts nothing new", "[fault][F56]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto type = GENERATE(asio::cancellation_type::partial, asio::cancellation_type::total);
    asio::cancellation_signal cancel;
    ended call;
    const auto f = [](int item) {
        ++now->starts[static_cast<std::size_t>(item)];
        ++now->running;
        while (now->answer == 0)
            ;
        return item;
    };
    const values items = test::numbers(100);
    const std::size_t chunk = GENERATE(std::size_t{1}, std::size_t{50});
    cofork::parallel(pool, f, items, {.chunk = chunk}, asio::bind_cancellation_slot(cancel.slot(), call.handler()));
    REQUIRE(test::run_until(context, [] { return now->running == 2; }));

    cancel.emit(type);
    while (context.poll() > 0)
        ;
    CHECK(call.times == 0);
    now->answer = 1;

    REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
    CHECK(code_of(call.error) == asio::error::operation_aborted);
    CHECK(now->running == 2);
    CHECK(pool.stats().killed == 0);
    test::still_works(context, pool);
    CHECK(call.times == 1);
}

TEST_CASE("cancellation that races with completion leaves one of the two", "[fault][F58]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    test::still_works(context, pool);
    int completed = 0;
    int aborted = 0;
    constexpr int rounds = 3000;
    for (int round = 0; round < rounds; ++round) {
        asio::cancellation_signal cancel;
        ended call;
        const values items = test::numbers(2);
        cofork::parallel(pool, test::twice, items, {}, asio::bind_cancellation_slot(cancel.slot(), call.handler()));
        for (int step = 0; step < round % 40 && call.times == 0; ++step)
            context.run_one_for(100us);
        cancel.emit(round % 3 == 0 ? asio::cancellation_type::total : asio::cancellation_type::terminal);
        REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
        REQUIRE(call.times == 1);
        if (call.error) {
            ++aborted;
            REQUIRE(code_of(call.error) == asio::error::operation_aborted);
        }
        else {
            ++completed;
            test::require_twice(call.got, 2);
        }
    }
    CHECK(completed > 0);
    CHECK(aborted > 0);
    CHECK(completed + aborted == rounds);
    test::still_works(context, pool);
}

TEST_CASE("of a coroutine and a timer the loser is stopped", "[fault][F59]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(4);
    const auto waits = [&](bool in_pool) -> asio::awaitable<values> {
        if (in_pool)
            co_return co_await cofork::parallel(pool, stuck, items);
        co_return co_await cofork::parallel(stuck, items, {.workers = 2});
    };
    for (const bool in_pool : {true, false}) {
        CAPTURE(in_pool);
        now->running = 0;
        asio::cancellation_signal cancel;
        asio::steady_timer timer{context, test::forks_are_slow ? 2000ms : 50ms};
        timer.async_wait([&](std::error_code) { cancel.emit(asio::cancellation_type::terminal); });
        ended call;
        asio::co_spawn(context, waits(in_pool), asio::bind_cancellation_slot(cancel.slot(), call.handler()));
        REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
        CHECK(code_of(call.error) == asio::error::operation_aborted);
        CHECK(now->running > 0);
        CHECK(test::eventually([] { return all_gone(4); }));
    }
    test::still_works(context, pool);
}

TEST_CASE("a call that fails stops the call that is awaited beside it", "[fault][F59][F60]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(1);
    const auto fails = [](int) -> int {
        while (now->running == 0)
            ;
        throw std::runtime_error{"no"};
    };
    asio::cancellation_signal cancel;
    ended loser;
    bool failed = false;
    cofork::parallel(pool, stuck, items, {}, asio::bind_cancellation_slot(cancel.slot(), loser.handler()));
    cofork::parallel(pool, fails, items, {}, [&](std::exception_ptr error, const values&) {
        failed = error != nullptr;
        cancel.emit(asio::cancellation_type::terminal);
    });
    REQUIRE(test::run_until(context, [&] { return loser.times > 0; }));
    CHECK(failed);
    CHECK(code_of(loser.error) == asio::error::operation_aborted);
    CHECK(all_gone(1));
    test::still_works(context, pool);
    CHECK(loser.times == 1);
}

TEST_CASE("the first failure ends parallel and stops the rest", "[fault][F60]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](int item) {
        if (item == 0)
            return stuck(item);
        if (item == 1) {
            while (now->running == 0)
                ;
            throw std::runtime_error{"no"};
        }
        ++now->starts[static_cast<std::size_t>(item)];
        return item;
    };
    const bool in_pool = GENERATE(true, false);
    const values items = test::numbers(100);
    const cofork::options o{.workers = 2, .chunk = 1};
    try {
        if (in_pool)
            test::run(context, cofork::parallel(pool, f, items, o));
        else
            test::run(context, cofork::parallel(f, items, o));
        FAIL("it did not throw");
    }
    catch (const cofork::item_error& e) {
        CHECK(e.why().index == 1);
        CHECK(e.why().kind == failure_kind::exception);
        CHECK(e.why().what == "no");
    }
    CHECK(all_gone(1));
    test::still_works(context, pool);
}
