// The semantics that cofork keeps of the Python library it takes after, and those that it mends.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/cofork.hpp>

#include <asio/awaitable.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <exception>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using steady = std::chrono::steady_clock;

TEST_CASE("1: add_one over fifty numbers, in two workers, one, and none", "[seed]")
{
    const test::leaves_nothing guard;
    const cofork::options o{.workers = GENERATE(2u, 1u, 0u, cofork::all_cpus)};
    const auto items = test::numbers(50);
    int a = 1;
    auto add = [&](int x) { return x + a; };
    for (const int extra : {1, 2}) {
        a = extra; // the extra argument is a capture
        const auto sums = test::run(cofork::parallel(add, items, o));
        REQUIRE(sums.size() == 50);
        CHECK(sums.front() == extra);
        CHECK(sums.back() == 49 + extra);
    }
}

TEST_CASE("2: failures are collected in their places, also serially", "[seed]")
{
    const test::leaves_nothing guard;
    const cofork::options o{.workers = GENERATE(2u, 0u)};
    const auto items = test::numbers(8);
    auto die_sometimes = [](int x) {
        if (x == 4 || x == 5)
            throw std::runtime_error{"died on " + std::to_string(x)};
        return 2 * x;
    };
    const auto outcomes = test::run(cofork::try_parallel(die_sometimes, items, o));
    REQUIRE(outcomes.size() == 8);
    for (std::size_t i = 0; i < 8; ++i) {
        if (i == 4 || i == 5)
            CHECK(outcomes[i].error().what == "died on " + std::to_string(i));
        else
            CHECK(outcomes[i].value() == static_cast<int>(2 * i));
    }
}

TEST_CASE("3: a crash costs its item and no other, in chunks of any size", "[seed]")
{
    const test::leaves_nothing guard;
    const std::size_t chunk = GENERATE(1u, 4u);
    const auto items = test::numbers(12);
    auto f = [](int x) {
        if (x == 5)
            std::raise(SIGSEGV);
        return x;
    };
    const auto outcomes = test::run(cofork::try_parallel(f, items, {.workers = 2, .chunk = chunk}));
    CHECK(std::count_if(outcomes.begin(), outcomes.end(), [](const auto& o) { return o.has_value(); }) == 11);
    CHECK(outcomes[5].error().index == 5);
    CHECK(outcomes[5].error().signal == SIGSEGV);
}

TEST_CASE("an item that fails does not lose what its chunk had before", "[seed]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(4);
    auto f = [](int x) {
        if (x == 3)
            throw std::runtime_error{"three"};
        return x;
    };
    const auto outcomes = test::run(cofork::try_parallel(f, items, {.workers = 1, .chunk = 2}));
    CHECK(outcomes[2].value() == 2);
    CHECK(outcomes[3].error().what == "three");
}

TEST_CASE("5: a deadline of the whole call kills what runs and ends in time", "[seed]")
{
    const test::leaves_nothing guard;
    auto f = [](int x) {
        std::this_thread::sleep_for(20s); // work-under-test: far longer than the deadline
        return x;
    };
    const auto before = steady::now();
    try {
        test::run(cofork::parallel(f, test::numbers(6), {.workers = 2, .deadline = 300ms}));
        FAIL("it was to throw");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::deadline);
    }
    CHECK(steady::now() - before < 10s);
}

TEST_CASE("6: progress moves while the first item is slow, also without a known total", "[seed][progress]")
{
    const test::leaves_nothing guard;
    const bool sized = GENERATE(true, false);
    const test::shared<std::atomic<bool>> moved;
    struct listener {
        std::atomic<bool>* moves;
        std::vector<cofork::progress_state> heard;

        void update(const cofork::progress_state& s)
        {
            heard.push_back(s);
            if (s.done >= 1)
                *moves = true;
        }
    } bar{&*moved, {}};
    auto f = [&](int x) {
        if (x == 0) // work-under-test: slower than all others
            return test::eventually([&] { return moved->load(); }, 20s) ? 1 : 0;
        return x;
    };
    const cofork::options o{.workers = 2, .chunk = 1, .progress = bar};
    const auto endless = std::views::iota(0);
    const auto values = sized
        ? test::run(cofork::parallel(f, test::numbers(4), o))
        : test::run(cofork::parallel(f, endless | std::views::take_while([](int x) { return x < 4; }), o));
    CHECK(values == std::vector{1, 1, 2, 3});
    CHECK(bar.heard.back().done == 4);
    CHECK(bar.heard.back().total == (sized ? 4 : 0));
}

TEST_CASE("a total that the range does not know may be given", "[seed][progress]")
{
    const test::leaves_nothing guard;
    struct listener {
        std::size_t total = 0;
        void update(const cofork::progress_state& s) { total = s.total; }
    } bar;
    const cofork::options o{.workers = GENERATE(0u, 2u), .total = 4, .progress = bar};
    test::run(cofork::parallel(
        [](int x) { return x; }, std::views::iota(0) | std::views::take_while([](int x) { return x < 4; }), o));
    CHECK(bar.total == 4);
}

TEST_CASE("7: ten of an endless generator, then enough", "[seed]")
{
    const test::leaves_nothing guard;
    int pulled = 0;
    auto source = std::views::iota(0) | std::views::filter([&](int) {
        ++pulled;
        return true;
    });
    auto ten = [](auto items) -> asio::awaitable<int> {
        int n = 0;
        auto results = cofork::stream([](int x) { return x; }, items, {.workers = 2, .window = 6});
        while (auto one = co_await results.next()) {
            if (++n == 10)
                break;
        }
        co_return n;
    };
    CHECK(test::run(ten(source)) == 10);
    CHECK(pulled <= 10 + 6);
    CHECK(test::children().empty());
}

TEST_CASE("8: workers do not outlive a parent that is killed, idle or busy", "[seed]")
{
    const test::leaves_nothing guard;
    const test::no_orphans none;
    const bool busy = GENERATE(false, true);
    const test::shared<std::atomic<int>> runs;
    static std::atomic<int>* running = nullptr;
    running = &*runs;
    const pid_t parent = ::fork();
    REQUIRE(parent >= 0);
    if (parent == 0) {
        asio::io_context context;
        cofork::pool pool{context, {.workers = 2}};
        cofork::wait(cofork::parallel(pool, [](int x) { return x; }, test::numbers(10)));
        if (!busy) {
            ++*running;
            test::hang();
        }
        cofork::wait(cofork::parallel(
            pool,
            [](int) {
                ++*running;
                test::hang();
            },
            test::numbers(4)));
        ::_exit(1);
    }
    CHECK(test::eventually([&] { return *runs > 0; }, 20s));
    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);
    CHECK(test::eventually([] { // we are their init now
        while (::waitpid(-1, nullptr, WNOHANG) > 0)
            ;
        return test::children().empty();
    }));
}

TEST_CASE("9: a pool never forks a parent that has threads by now", "[seed][threads]")
{
    const test::leaves_nothing guard;
    asio::io_context context{2};
    cofork::pool pool{context, {.workers = 2}};
    const auto before = test::children();
    std::vector<char> ballast(64 << 20, 'x');
    std::vector<std::thread> threads;
    std::atomic<int> right{0};
    for (int i = 0; i < 8; ++i) {
        cofork::parallel(pool, [](int x) { return x + 1; }, test::numbers(100), {},
            [&](std::exception_ptr e, std::vector<int> values) { right += !e && values.back() == 100; });
    }
    for (int i = 0; i < 3; ++i)
        threads.emplace_back([&] { context.run_for(test::long_enough); });
    for (auto& t : threads)
        t.join();
    CHECK(right == 8);
    CHECK(test::children() == before);
    CHECK(ballast.back() == 'x');
}

TEST_CASE("10: without reuse every item has its own process and clean globals", "[seed]")
{
    const test::leaves_nothing guard;
    static int uses = 0;
    const auto answers = test::run(cofork::parallel(
        [](int) { return std::pair{::getpid(), ++uses}; }, test::numbers(10), {.workers = 2, .fresh = true}));
    std::set<int> pids;
    for (const auto& [pid, n] : answers) {
        pids.insert(pid);
        CHECK(n == 1);
    }
    CHECK(pids.size() == 10);
}

TEST_CASE("one worker is a process, none is this one", "[seed]")
{
    const test::leaves_nothing guard;
    auto pid = [](int) { return ::getpid(); };
    CHECK(test::run(cofork::parallel(pid, test::numbers(1), {.workers = 1})).front() != ::getpid());
    CHECK(test::run(cofork::parallel(pid, test::numbers(1), {.workers = 0})).front() == ::getpid());
}

TEST_CASE("an exception is thrown again when it happens, not when its turn comes", "[seed]")
{
    const test::leaves_nothing guard;
    auto f = [](int x) {
        if (x == 3)
            throw std::logic_error{"item three"};
        if (x == 0)
            test::hang(); // its turn never comes
        return x;
    };
    try {
        test::run(cofork::parallel(f, test::numbers(36), {.workers = 2, .chunk = 1}));
        FAIL("it was to throw");
    }
    catch (const cofork::item_error& e) {
        CHECK_THAT(e.what(), ContainsSubstring("item three"));
        CHECK_THAT(e.what(), ContainsSubstring("std::logic_error"));
        CHECK(e.why().index == 3);
    }
}
