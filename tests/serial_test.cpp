// workers = 0: the same contract, in this process.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/cofork.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using cofork::failure_kind;
using test::error_of;

namespace {

constexpr cofork::options serially{.workers = 0};

} // namespace

TEST_CASE("serial calls run f here, one item after the other, in their order", "[serial]")
{
    const test::leaves_nothing guard;
    std::vector<int> order;
    auto f = [&](int x) {
        order.push_back(x);
        return ::getpid();
    };
    CHECK(test::run(cofork::parallel(f, test::numbers(100), serially)) == std::vector(100, ::getpid()));
    CHECK(order == test::numbers(100));
    test::run(cofork::parallel([&](int x) { order.push_back(x); }, test::numbers(3), serially));
    CHECK(order.size() == 103);
}

TEST_CASE("serial calls fork nothing, so threads do not matter", "[serial]")
{
    const test::leaves_nothing guard;
    std::mutex mutex;
    std::condition_variable ended;
    bool over = false;
    std::thread other{[&] {
        std::unique_lock lock{mutex};
        ended.wait(lock, [&] { return over; });
    }};
    std::size_t children = 0;
    auto f = [&](int x) {
        children += test::children().size();
        return x;
    };
    CHECK(test::run(cofork::parallel(f, test::numbers(3), serially)) == test::numbers(3));
    CHECK(children == 0);
    {
        const std::lock_guard lock{mutex};
        over = true;
    }
    ended.notify_one();
    other.join();
}

TEST_CASE("serial calls have the same errors", "[serial][fault]")
{
    const test::leaves_nothing guard;
    int starts = 0;
    auto f = [&](int x) {
        ++starts;
        if (x == 3)
            throw std::out_of_range{"three"};
        return x;
    };
    try {
        test::run(cofork::parallel(f, test::numbers(10), serially));
        FAIL("it was to throw");
    }
    catch (const cofork::item_error& e) {
        CHECK(e.why().kind == failure_kind::exception);
        CHECK(e.why().index == 3);
        CHECK(e.why().what == "three");
        CHECK(e.why().type == "std::out_of_range");
        CHECK(e.why().pid == ::getpid());
    }
    CHECK(starts == 4);
    const auto outcomes = test::run(cofork::try_parallel(f, test::numbers(10), serially));
    CHECK(outcomes[3].error().what == "three");
    CHECK(outcomes[9].value() == 9);
    CHECK(error_of(cofork::parallel(f, test::numbers(3), {.workers = 0, .attempts = 0})) == cofork::errc::invalid_options);
}

TEST_CASE("serial calls start failed items again, and tell on_error and progress", "[serial][retry]")
{
    const test::leaves_nothing guard;
    int starts = 0;
    int heard = 0;
    struct listener {
        cofork::progress_state last{};
        int updates = 0;
        void update(const cofork::progress_state& s)
        {
            last = s;
            ++updates;
        }
    } bar;
    auto f = [&](int x) {
        if (x == 1 && ++starts < 3)
            throw std::runtime_error{"not yet"};
        return x;
    };
    auto hear = [&](const cofork::failure& why) { heard += why.index == 1; };
    CHECK(test::run(cofork::parallel(f, test::numbers(3), {.workers = 0, .attempts = 3, .progress = bar, .on_error = hear}))
        == test::numbers(3));
    CHECK(starts == 3);
    CHECK(heard == 2);
    CHECK(bar.last.finished);
    CHECK(bar.last.done == 3);
    CHECK(bar.last.retried == 2);
    CHECK(bar.last.total == 3);
    CHECK(bar.updates >= 4);

    auto bad = [](const cofork::failure&) { throw std::domain_error{"the hook"}; };
    auto throws = [](int) -> int { throw 1; };
    CHECK_THROWS_AS(
        test::run(cofork::parallel(throws, test::numbers(3), {.workers = 0, .on_error = bad})), std::domain_error);
}

TEST_CASE("a serial item that took too long fails with timeout, afterwards", "[serial][fault]")
{
    const test::leaves_nothing guard;
    auto f = [](int x) {
        if (x == 1)
            std::this_thread::sleep_for(60ms); // work-under-test: longer than the timeout
        return x;
    };
    const auto outcomes = test::run(cofork::try_parallel(f, test::numbers(3), {.workers = 0, .timeout = 50ms}));
    CHECK(outcomes[0].has_value());
    CHECK(outcomes[1].error().kind == failure_kind::timeout);
    CHECK(outcomes[1].error().elapsed >= 50ms);
    CHECK(outcomes[2].has_value());
}

TEST_CASE("a serial call ends at its deadline, between items", "[serial][fault]")
{
    const test::leaves_nothing guard;
    auto f = [](int x) {
        std::this_thread::sleep_for(20ms); // work-under-test
        return x;
    };
    CHECK(
        error_of(cofork::parallel(f, std::views::iota(0), {.workers = 0, .deadline = 100ms})) ==
        cofork::errc::deadline);
    CHECK(error_of(cofork::parallel(test::square, test::numbers(2), {.workers = 0, .pause = 24h, .deadline = 50ms}))
        == cofork::errc::deadline); // also while the gate is shut
}

TEST_CASE("other handlers run between the items of a serial call", "[serial]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    std::size_t seen = 0;
    std::size_t items_done = 0;
    auto f = [&](int x) {
        ++items_done;
        return x;
    };
    bool done = false;
    cofork::parallel(context.get_executor(), f, std::views::iota(0, 100), serially,
        [&](std::exception_ptr, std::vector<int>) { done = true; });
    asio::post(context, [&] { seen = items_done; });
    context.run_for(test::long_enough);
    CHECK(done);
    CHECK(items_done == 100);
    CHECK(seen < 100);
}

TEST_CASE("a serial call may be cancelled between items and while its gate is shut", "[serial][cancel]")
{
    const test::leaves_nothing guard;
    const auto pause = GENERATE(std::chrono::nanoseconds{0}, std::chrono::nanoseconds{24h});
    asio::io_context context;
    asio::cancellation_signal stop;
    std::error_code ended;
    std::size_t got = 0;
    auto f = [&](int x) {
        if (x == 0)
            asio::post(context, [&] { stop.emit(asio::cancellation_type::total); });
        return x;
    };
    cofork::try_parallel(context.get_executor(), f, std::views::iota(0, 1'000'000), {.workers = 0, .pause = pause},
        asio::bind_cancellation_slot(stop.slot(), [&](std::error_code ec, std::vector<cofork::outcome<int>> outcomes) {
            ended = ec;
            got = outcomes.size();
            CHECK(outcomes.front().has_value());
            CHECK(outcomes.back().error().kind == failure_kind::cancelled);
        }));
    context.run_for(test::long_enough);
    CHECK(ended == asio::error::operation_aborted);
    CHECK(got == 1'000'000);
}

TEST_CASE("a serial stream keeps its window", "[serial][stream]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    std::size_t starts = 0;
    auto f = [&](int x) {
        ++starts;
        return x;
    };
    auto results = cofork::stream(context.get_executor(), f, std::views::iota(0), {.workers = 0, .window = 5});
    context.run_for(20ms);
    CHECK(starts == 5);
    for (std::size_t taken = 1; taken <= 10; ++taken) {
        bool came = false;
        results.next(asio::bind_executor(context, [&](std::exception_ptr, std::optional<cofork::indexed<int>> one) {
            came = true;
            CHECK(one->outcome.value() == static_cast<int>(taken) - 1);
        }));
        CHECK(test::eventually([&] {
            context.restart();
            context.poll();
            return came;
        }));
        CHECK(starts <= taken + 5);
    }
}

TEST_CASE("a pool's call runs here too, as it would there, when no workers are wanted", "[serial][pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    CHECK(test::run(context, cofork::parallel(pool, [](int) { return ::getpid(); }, test::numbers(2), serially))
        == std::vector(2, ::getpid()));
    int factor = 3; // not const: a constant would need no capture
    CHECK(
        test::run(
            context,
            cofork::parallel(pool, cofork::by_bytes([factor](int x) { return factor * x; }), test::numbers(3), serially)) ==
        std::vector{0, 3, 6});
    CHECK(test::run(context, cofork::run(pool, test::square, 4, serially)) == 16);
    CHECK(pool.stats().spawned == 0);
}
