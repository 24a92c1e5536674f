// Workers that are killed, at every point of an item's life: what had not begun is started elsewhere, what was whole is
// delivered.

#include "support/faults.hpp"
#include "support/worker_side.hpp"

#include "frame.hpp"

#include <cofork/run.hpp>

#include <asio/signal_set.hpp>

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <thread>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

struct board {
    std::array<std::atomic<int>, 1> starts; // by item
    std::array<std::atomic<pid_t>, 8> pids; // of workers that wait for each other
    std::atomic<int> running;
    std::atomic<pid_t> pid;
    std::atomic<int> go;
};
board* now = nullptr;
using shared_board = test::shared_at<now>;

} // namespace

TEST_CASE("a signal from outside ends a worker, also where the program handles that signal", "[fault][F2][F65]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    asio::signal_set handled{context, SIGTERM, SIGINT, SIGHUP};
    int forged = 0;
    handled.async_wait([&](std::error_code ec, int) { forged += ec ? 0 : 1; });
    cofork::pool pool{context, {.workers = 2}};

    for (const int signo : {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGPIPE, SIGALRM, SIGXCPU}) {
        CAPTURE(signo);
        now->pid = 0;
        const auto f = [] {
            now->pid = ::getpid();
            test::hang();
        };
        test::started call{context, cofork::try_run(pool, f)};
        REQUIRE(test::run_until(context, [] { return now->pid != 0; }));
        ::kill(now->pid, signo);
        const auto outcome = call.finish();
        REQUIRE_FALSE(outcome.has_value());
        CHECK(outcome.error().kind == failure_kind::crashed);
        CHECK(outcome.error().signal == signo);
        CHECK(outcome.error().pid == now->pid);
    }
    test::still_works(context, pool);
    CHECK(forged == 0);
}

TEST_CASE("workers that are killed while idle are replaced without anybody noticing", "[fault][F3]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 3}};
    for (int round = 0; round < 20; ++round) {
        test::still_works(context, pool);
        const auto idle = test::workers();
        REQUIRE_FALSE(idle.empty());
        for (const pid_t pid : idle)
            ::kill(pid, SIGKILL);
        if (round % 2 == 0) // else the call meets workers that die while it begins
            CHECK(test::eventually([&] { return std::all_of(idle.begin(), idle.end(), test::is_gone); }));
    }
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("items that a killed worker had not read are started elsewhere, once", "[fault][F4][F7][F73]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    test::still_works(context, pool);
    const std::size_t size = GENERATE(std::size_t{10}, std::size_t{60'000}, std::size_t{5'000'000}, std::size_t{100'000'000});
    CAPTURE(size);
    const auto f = [](const std::string& item) {
        ++now->starts[0];
        return item.size();
    };
    const int rounds = size > 10'000'000 ? 2 : 10;
    for (int round = 0; round < rounds; ++round) {
        now->starts[0] = 0;
        const auto stopped = test::workers();
        REQUIRE(stopped.size() == 1);
        ::kill(stopped[0], SIGSTOP);
        REQUIRE(test::eventually([&] { return test::state_of(stopped[0]) == 'T'; }));

        test::started call{context, cofork::try_run(pool, f, std::string(size, 'x'))};
        REQUIRE(test::run_until(context, [&] { return pool.stats().busy == 1; }));
        while (context.poll() > 0) // as much as the pipe holds is written
            ;
        ::kill(stopped[0], SIGKILL);

        const auto outcome = call.finish();
        REQUIRE(outcome.has_value());
        CHECK(*outcome == size);
        CHECK(now->starts[0] == 1);
    }
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("a result that is complete when its worker is killed is delivered", "[fault][F5]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const int size = GENERATE(0, 1, 4096, 60'000);
    CAPTURE(size);
    const auto f = [](int n) {
        now->pid = ::getpid();
        while (now->go == 0)
            ;
        return std::string(static_cast<std::size_t>(n), 'y');
    };
    for (int round = 0; round < 10; ++round) {
        now->pid = 0;
        now->go = 0;
        test::started call{context, cofork::try_run(pool, f, size)};
        REQUIRE(test::run_until(context, [] { return now->pid != 0; }));
        now->go = 1;
        // Nothing is read here meanwhile. A worker that sleeps has written, and waits for more to do.
        REQUIRE(test::eventually([] { return test::state_of(now->pid) == 'S'; }));
        ::kill(now->pid, SIGKILL);
        const auto outcome = call.finish();
        REQUIRE(outcome.has_value());
        CHECK(*outcome == std::string(static_cast<std::size_t>(size), 'y'));
    }
    test::still_works(context, pool);
    test::runs_dry(context);
}

namespace {

std::string letters(std::size_t size)
{
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>('a' + i % 23);
    return text;
}

struct torn {
    std::size_t size;   // of the result
    std::size_t offset; // so many bytes of the reply are written
};

/// Writes a part of its own reply as the worker would, and dies.
std::string tear(torn t)
{
    using namespace cofork::detail;
    byte_buffer payload;
    cofork::encoder{payload}.value(letters(t.size));
    byte_buffer reply(sizeof(reply_header));
    store(reply.data(), reply_header{reply_magic, reply_kind::value, 0, 0, payload.size()});
    reply.insert(reply.end(), payload.begin(), payload.end());
    const int fd = test::own_pipe(O_WRONLY);
    test::say_finished();
    for (std::size_t at = 0; at < std::min(t.offset, reply.size());) {
        const ssize_t put = ::write(fd, reply.data() + at, std::min(t.offset, reply.size()) - at);
        if (put < 0)
            ::_exit(77);
        at += static_cast<std::size_t>(put);
    }
    ::raise(SIGKILL);
    return {};
}

} // namespace

TEST_CASE("of a reply that was cut off at any byte nothing is delivered", "[fault][F6]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    cofork::detail::byte_buffer empty;
    cofork::encoder{empty}.value(std::string{});
    const std::size_t around = sizeof(cofork::detail::reply_header) + empty.size();
    for (const std::size_t size : {std::size_t{0}, std::size_t{40}, std::size_t{4096}, std::size_t{65536}, std::size_t{1} << 20}) {
        CAPTURE(size);
        const std::size_t whole = around + size;
        std::vector<torn> items;
        for (std::size_t offset = 0; offset < std::min<std::size_t>(whole, 64); ++offset)
            items.push_back({size, offset});
        for (std::size_t k = 1; k < 32 && whole > 64; ++k) {
            items.push_back({size, whole * k / 32});
            items.push_back({size, whole - k});
        }
        items.push_back({size, whole});

        const auto all = test::run(context, cofork::try_parallel(pool, tear, items));

        for (std::size_t i = 0; i < items.size(); ++i) {
            CAPTURE(items[i].offset);
            REQUIRE(all[i].has_value() == (items[i].offset == whole));
            if (all[i])
                CHECK(*all[i] == letters(size));
            else {
                CHECK(all[i].error().kind == failure_kind::crashed);
                CHECK(all[i].error().signal == SIGKILL);
            }
        }
    }
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("workers that kill each other cost one item each at most", "[fault][F18]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    constexpr int n = 4;
    cofork::pool pool{context, {.workers = n}};
    const auto f = [](int item) {
        now->pids[static_cast<std::size_t>(item)] = ::getpid();
        ++now->running;
        while (now->running < n) // all at once
            ;
        ::kill(now->pids[static_cast<std::size_t>(item + 1) % n], SIGKILL);
        ::kill(now->pids[static_cast<std::size_t>(item + 2) % n], SIGKILL);
        return 2 * item;
    };
    for (int round = 0; round < 20; ++round) {
        now->running = 0;
        const auto all = test::run(context, cofork::try_parallel(pool, f, test::numbers(n), {.chunk = 1}));
        REQUIRE(all.size() == n);
        int dead = 0;
        for (std::size_t i = 0; i < n; ++i) {
            if (all[i])
                CHECK(*all[i] == 2 * static_cast<int>(i));
            else {
                ++dead;
                CHECK(all[i].error().kind == failure_kind::crashed);
                CHECK(all[i].error().signal == SIGKILL);
            }
        }
        CHECK(dead >= 1);
        test::still_works(context, pool);

        // All of them are there again.
        now->running = 0;
        const auto meet = [](int item) {
            ++now->running;
            while (now->running < n)
                std::this_thread::yield();
            return 2 * item;
        };
        const auto begun = std::chrono::steady_clock::now();
        test::require_twice(test::run(context, cofork::parallel(pool, meet, test::numbers(n), {.chunk = 1})), n);
        CHECK(std::chrono::steady_clock::now() - begun < (test::forks_are_slow ? 10s : 1s));
    }
    test::runs_dry(context);
}
