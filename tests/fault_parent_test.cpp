// The program destroys, stops, or dies itself: nothing of ours outlives it, and every call ends once.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/faults.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/stuck_calls.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/outcome.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/progress.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using test::all_gone;
using test::code_of;
using test::ended;
using test::now;
using test::shared_board;
using test::stuck;
using test::values;

TEST_CASE("a context that is stopped completes nothing, and goes on when it is restarted", "[fault][F61]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(500);
    ended call;
    cofork::parallel(pool, test::twice, items, {}, call.handler());
    while (call.times == 0) {
        context.run_one_for(1ms);
        context.stop();
        CHECK(context.run_one() == 0);
        context.restart();
    }
    CHECK(call.times == 1);
    test::require_twice(call.got, items.size());
}

TEST_CASE("a context that is destroyed takes its workers with it", "[fault][F62]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    enum class verb { parallel, stream, pool, pool_outlives, coroutine };
    const verb what = GENERATE(verb::parallel, verb::stream, verb::pool, verb::pool_outlives, verb::coroutine);
    CAPTURE(static_cast<int>(what));
    for (int turns = 0; turns < 60; turns += 3) {
        now->running = 0;
        ended call;
        const values items = test::numbers(40);
        std::optional<cofork::pool> outlives;
        std::optional<cofork::result_stream<int>> results;
        {
            asio::io_context context{1};
            std::optional<cofork::pool> pool;
            if (what == verb::parallel)
                cofork::parallel(context.get_executor(), stuck, items, {.workers = 2}, call.handler());
            else if (what == verb::stream) {
                results.emplace(cofork::stream(context.get_executor(), stuck, items, {.workers = 2}));
                results->next([](std::exception_ptr, auto) { FAIL("completed though its context is gone"); });
            }
            else if (what == verb::pool) {
                pool.emplace(context, cofork::pool_options{.workers = 2});
                cofork::parallel(*pool, stuck, items, {}, call.handler());
            }
            else if (what == verb::pool_outlives) {
                outlives.emplace(context, cofork::pool_options{.workers = 2});
                cofork::parallel(*outlives, stuck, items, {}, call.handler());
            }
            else
                asio::co_spawn(context, cofork::parallel(stuck, items, {.workers = 2}), call.handler());
            if (turns == 57)
                REQUIRE(test::run_until(context, [] { return now->running == 2; }));
            else {
                for (int i = 0; i < turns; ++i)
                    context.run_one_for(50us);
            }
        }
        CHECK(call.times == 0);
        CHECK(test::eventually([] { return test::nurseries().empty(); }));
        CHECK(all_gone(64));
    }
}

TEST_CASE("a pool that ends completes every call with pool_closed", "[fault][F63]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    std::optional<cofork::pool> pool{std::in_place, context, cofork::pool_options{.workers = 2}};
    const bool destroy = GENERATE(true, false);
    std::array<ended, 3> calls;
    const values items = test::numbers(10);
    for (auto& call : calls)
        cofork::parallel(*pool, stuck, items, {.chunk = 1}, call.handler());
    REQUIRE(test::run_until(context, [] { return now->running == 2; }));

    if (destroy)
        pool.reset();
    else {
        pool->close();
        pool->close();
    }
    CHECK(test::nurseries().empty()); // reaped when it returns
    CHECK(all_gone(10));
    for (auto& call : calls)
        CHECK(call.times == 0); // never from inside
    for (auto& call : calls) {
        REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
        CHECK(code_of(call.error) == cofork::errc::pool_closed);
    }
    if (pool) {
        ended refused;
        cofork::parallel(*pool, test::twice, items, {}, refused.handler());
        REQUIRE(test::run_until(context, [&] { return refused.times > 0; }));
        CHECK(code_of(refused.error) == cofork::errc::pool_closed);
    }
    test::snapshot_works(context);
    for (auto& call : calls)
        CHECK(call.times == 1);
}

namespace {

struct closer {
    std::optional<cofork::pool>* pool = nullptr;
    bool destroy = false;
    int calls = 0;

    void operator()()
    {
        ++calls;
        if (!*pool)
            return;
        if (destroy)
            pool->reset();
        else
            (*pool)->close();
    }
    void update(const cofork::progress_state& state)
    {
        if (state.done >= 3)
            (*this)();
    }
};

int third_throws(int item)
{
    if (item % 3 == 2)
        throw std::runtime_error{"third"};
    return item;
}

} // namespace

TEST_CASE("a pool may be closed and destroyed from inside its calls' callbacks", "[fault][F63]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    std::optional<cofork::pool> pool{std::in_place, context, cofork::pool_options{.workers = 2}};
    const bool destroy = GENERATE(true, false);
    closer close{&pool, destroy};
    enum class from { on_error, progress, completion, range };
    const from where = GENERATE(from::on_error, from::progress, from::completion, from::range);
    CAPTURE(destroy, static_cast<int>(where));
    const values items = test::numbers(1000);
    int times = 0;
    std::error_code ended_with;
    const auto handler = [&](std::error_code ec, const std::vector<cofork::outcome<int>>&) {
        ++times;
        ended_with = ec;
    };
    if (where == from::on_error)
        cofork::try_parallel(*pool, third_throws, items, {.on_error = [&close](const cofork::failure&) { close(); }}, handler);
    else if (where == from::progress)
        cofork::try_parallel(*pool, third_throws, items, {.progress = close}, handler);
    else if (where == from::completion) {
        const values one{0}; // runs until it is killed
        cofork::try_parallel(*pool, stuck, one, {}, handler);
        cofork::try_run(*pool, test::twice, 1, [&](std::error_code, cofork::outcome<int>) { close(); });
        REQUIRE(test::run_until(context, [&] { return times > 0; })); // before the items go
    }
    else {
        auto range = items | std::views::filter([&close](int i) {
            if (i == 50)
                close();
            return true;
        });
        cofork::try_parallel(*pool, third_throws, range, {}, handler);
        REQUIRE(test::run_until(context, [&] { return times > 0; }));
    }
    REQUIRE(test::run_until(context, [&] { return times > 0; }));
    CHECK(ended_with == cofork::errc::pool_closed);
    CHECK(close.calls > 0);
    while (context.poll() > 0)
        ;
    CHECK(times == 1);
    CHECK(test::eventually([] { return test::nurseries().empty(); }));
    test::snapshot_works(context);
}

namespace {

/// Everything that a program may have running when it dies.
[[noreturn]] void busy_program(void (*die)())
{
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(2);
    cofork::parallel(pool, stuck, items, {.chunk = 1}, [](std::exception_ptr, values) {});
    const values more{2, 3};
    cofork::parallel(context.get_executor(), stuck, more, {.workers = 2, .chunk = 1}, [](std::exception_ptr, values) {});
    while (now->running < 4)
        context.run_one_for(1ms);
    die();
    test::hang();
}

} // namespace

TEST_CASE("a program that dies takes all its workers with it", "[fault][F64]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const shared_board shared;
    using ending = void (*)();
    const ending die = GENERATE(
        ending{[] { ::raise(SIGKILL); }}, ending{[] { ::raise(SIGABRT); }}, ending{[] { ::raise(SIGTERM); }}, ending{[] { ::_exit(0); }},
        ending{[] { std::exit(0); }});
    test::helper_process program{[&] { busy_program(die); }};
    (void)program.status();
    const bool gone = test::eventually([] {
        while (::waitpid(-1, nullptr, WNOHANG) > 0)
            ;
        return all_gone(4);
    });
    CHECK(now->running == 4);
    CHECK(gone);
}

TEST_CASE("a thread that made a pool may end without its workers", "[fault][F64]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    std::optional<cofork::pool> pool;
    std::thread{[&] { pool.emplace(context, cofork::pool_options{.workers = 2, .with_threads = true}); }}.join();
    std::thread{[&] { test::still_works(context, *pool); }}.join();
    const auto before = test::workers();
    CHECK_FALSE(before.empty());
    test::still_works(context, *pool);
    const auto after = test::workers(); // perhaps one more: the pool may have two
    for (const auto worker : before)
        CHECK(std::find(after.begin(), after.end(), worker) != after.end());
}

TEST_CASE("a program goes on with its workers when its main thread has ended", "[fault][F64]")
{
    const test::leaves_nothing nothing;
    test::helper_process program{[] {
        const auto context = new asio::io_context{1}; // the frame of the main thread goes
        const auto pool = new cofork::pool{*context, {.workers = 2, .min_workers = 2}};
        test::still_works(*context, *pool);
        const auto before = test::workers();
        std::thread{[=] {
            const auto path = "/proc/self/task/" + std::to_string(::getpid()) + "/stat";
            bool fine = test::eventually([&] { return test::text_of(path).find(") Z ") != std::string::npos; });
            test::still_works(*context, *pool);
            fine = fine && before.size() == 2 && std::ranges::none_of(before, test::is_gone);
            delete pool;
            ::_exit(fine ? 0 : 1);
        }}.detach();
        ::syscall(SYS_exit, 0); // as pthread_exit, but for the unwinding, which the helper's frames forbid
    }};
    CHECK(program.status() == 0);
}

TEST_CASE("Ctrl-C reaches the program and none of its workers", "[fault][F65]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    test::helper_process program{[] {
        ::setpgid(0, 0);
        asio::io_context context{1};
        asio::signal_set interrupts{context, SIGINT};
        int interrupted = 0;
        interrupts.async_wait([&](std::error_code ec, int) { interrupted += ec ? 0 : 1; });
        cofork::pool pool{context, {.workers = 2}};
        const auto f = [](int item) {
            ++now->running;
            while (now->answer == 0)
                ;
            return 2 * item;
        };
        const values items = test::numbers(2);
        test::started call{context, cofork::parallel(pool, f, items, {.chunk = 1})};
        bool fine = test::run_until(context, [] { return now->running == 2; });
        ::kill(0, SIGINT); // as the terminal does: to the whole foreground group
        fine = fine && test::run_until(context, [&] { return interrupted == 1; });
        now->answer = 1;
        fine = fine && call.finish() == values{0, 2};
        ::_exit(fine ? 0 : 1);
    }};
    CHECK(program.status() == 0);
    CHECK(test::eventually([] { return test::workers().empty(); }));
}
