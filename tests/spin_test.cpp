// pool_options::spin: neither side sleeps between two calls that follow each other, and both do when nothing follows.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

namespace {

constexpr int calls = 300;

/// How often a process has gone to sleep of its own accord (proc_pid_status(5)).
long sleeps_of(const std::string& pid)
{
    std::ifstream status{"/proc/" + pid + "/status"};
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("voluntary_ctxt_switches:"))
            return std::stol(line.substr(line.find(':') + 1));
    return -1;
}

std::chrono::nanoseconds processor_time_of(cofork::pool& pool)
{
    return pool.stats().cpu;
}

struct slept {
    long worker;
    long loop;
};

slept sleeps(const std::string& worker)
{
    return {sleeps_of(worker), sleeps_of("self")};
}

/// Whether there is no processor to spare: processes that run or want to, besides our two (proc_loadavg(5)).
bool others_run()
{
    std::string averages[3];
    long running = 0;
    std::ifstream{"/proc/loadavg"} >> averages[0] >> averages[1] >> averages[2] >> running;
    return running > std::max(1L, static_cast<long>(std::thread::hardware_concurrency()) - 1);
}

asio::awaitable<slept> call_again_and_again(cofork::pool& pool)
{
    for (int i = 0; i < 5; ++i) // it has to be there, and to have been worth it
        co_await cofork::run(pool, test::twice, i);
    const std::string worker = std::to_string(pool.worker_states().front().pid);
    const slept before = sleeps(worker);
    for (int i = 0; i < calls; ++i)
        CHECK(co_await cofork::run(pool, test::twice, i) == 2 * i);
    const slept now = sleeps(worker);
    co_return slept{now.worker - before.worker, now.loop - before.loop};
}

int die(int)
{
    std::raise(SIGKILL);
    return 0;
}

} // namespace

TEST_CASE("with spin neither the worker nor the loop sleeps between two calls", "[spin]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .spin = 10ms}};
    bool crowded = false;
    slept n{};
    for (int attempt = 0; attempt < 20; ++attempt) {
        n = test::run(context, call_again_and_again(pool));
        if (n.worker < calls / 10 && n.loop < calls / 10)
            return;
        crowded = crowded || others_run();
    }
    CAPTURE(n.worker, n.loop);
    REQUIRE(crowded); // else nothing has kept them from it
    WARN("others want the processors all the time: it cannot be seen here");
}

TEST_CASE("without spin the worker sleeps until there is work", "[spin]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const slept n = test::run(context, call_again_and_again(pool));
    CAPTURE(n.worker, n.loop);
    CHECK(n.worker >= calls / 2);
}

TEST_CASE("with spin nobody takes processor time when there is nothing to do", "[spin]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .spin = 10ms}};
    test::run(context, call_again_and_again(pool));
    const auto before = processor_time_of(pool);
    test::run(context, [](asio::io_context& c) -> asio::awaitable<void> {
        asio::steady_timer while_idle{c, 300ms};
        co_await while_idle.async_wait(asio::use_awaitable);
    }(context));
    CHECK(processor_time_of(pool) - before < 100ms);
    CHECK(context.poll() == 0); // and the loop has come to rest
    CHECK(test::run(context, cofork::run(pool, test::twice, 4)) == 8);
}

TEST_CASE("with spin a worker that dies is noticed, and replaced", "[spin]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .spin = 10ms}};
    test::run(context, call_again_and_again(pool));
    const auto dead = test::run(context, cofork::try_run(pool, die, 1));
    REQUIRE(!dead);
    CHECK(dead.error().kind == cofork::failure_kind::crashed);
    CHECK(test::run(context, cofork::run(pool, test::twice, 4)) == 8);
}

TEST_CASE("a spin that is no time, or too long, is refused", "[spin]")
{
    asio::io_context context{1};
    for (const auto spin : {std::chrono::nanoseconds{-1}, std::chrono::nanoseconds{10ms} + 1ns}) {
        try {
            const cofork::pool pool{context, {.workers = 1, .spin = spin}};
            FAIL("it was taken");
        }
        catch (const std::system_error& e) {
            CHECK(e.code() == cofork::errc::invalid_options);
            CHECK(std::string{e.what()}.find("pool_options") != std::string::npos);
        }
    }
}
