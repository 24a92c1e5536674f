// How a pool's workers come, stay and go.

#include "support/errors.hpp"
#include "support/faults.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>

#include <sys/resource.h>

#include <array>
#include <set>
#include <stdexcept>
#include <thread>

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using test::error_of;

struct board {
    std::atomic<int> inits;
    std::atomic<int> finis;
    std::atomic<int> now_running;
    std::atomic<int> most_running;
};
board* now = nullptr;

using shared_board = test::shared_at<now>;

struct state {
    int number;
};

state make_state()
{
    return {++now->inits};
}

void end_state(state& s)
{
    now->finis += s.number > 0 ? 1 : 100;
}

cofork::pool_options with_state(unsigned workers)
{
    return {.workers = workers, .init = make_state, .fini = end_state};
}

int pid_of_worker(int)
{
    return static_cast<int>(::getpid());
}

int slow_pid(int item)
{
    std::this_thread::sleep_for(20ms);
    return pid_of_worker(item);
}

std::set<int> distinct(const std::vector<int>& pids)
{
    return {pids.begin(), pids.end()};
}

} // namespace

TEST_CASE("min_workers are there before the first call, and are replaced", "[pool][life]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 4, .min_workers = 2}};
    REQUIRE(test::eventually([] { return test::workers().size() == 2; }));
    CHECK(pool.stats().workers == 2);
    const auto first = test::workers();
    ::kill(first[0], SIGKILL);
    REQUIRE(test::eventually([&] { return test::is_gone(first[0]); }));
    test::still_works(context, pool);
    CHECK(test::eventually([] { return test::workers().size() >= 2; }));
}

// The nursery waited for the program to hear of the first 280.
TEST_CASE("min_workers may be more than the news of them that fit into a socket", "[pool][life]")
{
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    const rlimit before = files;
    files.rlim_cur = files.rlim_max;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &files) == 0);
    if (files.rlim_cur < 2048)
        SKIP("so many workers need more descriptors than are allowed here");
    {
        const test::leaves_nothing nothing;
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 320, .min_workers = 320}};
        context.run(); // sends what the socket had no room for; nobody listens
        CHECK(test::eventually([] { return test::workers().size() == 320; }, 20s));
        CHECK(test::run(context, cofork::run(pool, test::twice, 21)) == 42);
    }
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("workers beyond min_workers end when they have nothing to do", "[pool][life]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool_options how = with_state(4);
    how.min_workers = 1;
    how.idle = 100ms;
    cofork::pool pool{context, how};
    for (int round = 0; round < 2; ++round) {
        const auto pids = test::run(context, cofork::parallel(pool, slow_pid, test::numbers(40), {.chunk = 1}));
        CHECK(distinct(pids).size() == 4);
        REQUIRE(test::eventually([] { return test::workers().size() == 1; }));
        CHECK(test::eventually([&] { return now->finis == 3 * (round + 1); }));
    }
    const auto kept = test::workers();
    CHECK_FALSE(test::eventually([&] { return test::is_gone(kept[0]); }, 300ms));
}

TEST_CASE("work that comes while a worker is leaving is done by another", "[pool][life]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .idle = 1ms}};
    for (int round = 0; round < 200; ++round) {
        CHECK(test::run(context, cofork::run(pool, test::twice, round)) == 2 * round);
        std::this_thread::sleep_for(std::chrono::microseconds{900 + round});
    }
}

TEST_CASE("fini runs when a worker is replaced, drained or not needed, and not when it is killed", "[pool][life]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    SECTION("replaced")
    {
        cofork::pool_options how = with_state(1);
        how.max_items = 5;
        cofork::pool pool{context, how};
        test::run(context, cofork::parallel(pool, test::twice, test::numbers(50)));
        CHECK(test::eventually([] { return now->finis >= 9; }));
        CHECK(now->inits >= 10);
    }
    SECTION("drained")
    {
        cofork::pool pool{context, with_state(2)};
        test::run(context, cofork::parallel(pool, slow_pid, test::numbers(10), {.chunk = 1}));
        test::run(context, pool.async_drain());
        CHECK(now->finis == now->inits);
        CHECK(now->finis > 0);
        CHECK(test::workers().empty());
    }
    SECTION("not needed")
    {
        cofork::pool pool{context, with_state(3)};
        test::run(context, cofork::parallel(pool, slow_pid, test::numbers(20), {.chunk = 1}));
        REQUIRE(now->inits == 3);
        pool.resize(1);
        test::run(context, cofork::run(pool, test::twice, 1));
        CHECK(test::eventually([] { return now->finis == 2; }));
        CHECK(test::eventually([] { return test::workers().size() == 1; }));
        pool.resize(3);
        const auto pids = test::run(context, cofork::parallel(pool, slow_pid, test::numbers(20), {.chunk = 1}));
        CHECK(distinct(pids).size() == 3);
        CHECK_THROWS_AS(pool.resize(4), std::system_error);
        CHECK_THROWS_AS(pool.resize(0), std::system_error);
    }
    SECTION("killed")
    {
        cofork::pool pool{context, with_state(1)};
        const auto hangs = [](int) { test::hang(); };
        test::run(context, cofork::try_parallel(pool, hangs, test::numbers(3), {.timeout = 50ms}));
        CHECK(now->inits == 3);
        CHECK(now->finis == 0);
    }
}

TEST_CASE("a fini that throws, crashes or hangs ends with its worker, and a drain in time", "[pool][life]")
{
    const test::leaves_nothing nothing;
    constexpr std::array<void (*)(state&), 3> bad{
        [](state&) { throw std::runtime_error{"no"}; }, [](state&) { ::raise(SIGSEGV); }, [](state&) { test::hang(); }};
    for (const auto fini : bad) {
        const shared_board shared;
        asio::io_context context{1};
        cofork::pool_options how = with_state(2);
        how.fini = fini;
        cofork::pool pool{context, how};
        test::still_works(context, pool);
        test::run(context, pool.async_drain());
        CHECK(test::workers().empty());
    }
}

TEST_CASE("a fini for another state than init's is refused", "[pool][life]")
{
    asio::io_context context{1};
    CHECK_THROWS_WITH((cofork::pool{context, {.init = [] { return 1; }, .fini = [](state&) {}}}), ContainsSubstring("another type"));
    CHECK_THROWS_WITH((cofork::pool{context, {.fini = [](state&) {}}}), ContainsSubstring("another type"));
}

TEST_CASE("an init that hangs fails the call by its boot timeout", "[pool][life][fault][F50]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const auto hangs = []() -> int { test::hang(); };
    cofork::pool pool{context, {.workers = 1, .init = hangs, .boot_timeout = 50ms}};
    try {
        test::run(context, cofork::run(pool, test::twice, 1));
        FAIL("it was to throw");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::boot_failed);
        CHECK_THAT(e.what(), ContainsSubstring("boot_timeout"));
    }
}

TEST_CASE("an init that hangs once is not noticed", "[pool][life][fault][F51]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    const auto once = [] {
        if (++now->inits == 1)
            test::hang();
        return 1;
    };
    cofork::pool pool{context, {.workers = 1, .min_workers = 1, .init = once, .boot_timeout = 100ms}};
    test::still_works(context, pool);
    CHECK(now->inits == 2);
}

TEST_CASE("an init that always fails does not fork without end, however many calls there are", "[pool][life][fault][F50]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    const auto fails = []() -> int {
        ++now->inits;
        throw std::runtime_error{"no"};
    };
    cofork::pool pool{context, {.workers = 4, .init = fails}};
    const auto end = std::chrono::steady_clock::now() + 1s;
    int calls = 0;
    for (; std::chrono::steady_clock::now() < end; ++calls)
        CHECK(error_of(context, cofork::run(pool, test::twice, 1)) == cofork::errc::boot_failed);
    CHECK(calls >= 2);
    CHECK(now->inits <= 5 + 8); // 10, 20, 40, 80 ms for the first call, then 160, 320, 640 ms ...
}

TEST_CASE("an init that is always killed fails its calls, and is not forked without end", "[pool][life][fault][F50]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    const auto dies = []() -> int {
        ++now->inits;
        return std::raise(SIGKILL); // as the kernel does when memory runs out
    };
    cofork::pool pool{context, {.workers = 2, .init = dies}};
    std::error_code code;
    std::vector<cofork::outcome<int>> outcomes;
    cofork::try_parallel(pool, test::twice, test::numbers(3), {}, [&](std::error_code ec, auto all) {
        code = ec;
        outcomes = std::move(all);
    });
    REQUIRE(test::run_until(context, [&] { return !outcomes.empty(); }));
    CHECK(code == cofork::errc::boot_failed);
    REQUIRE(outcomes.size() == 3);
    for (const auto& o : outcomes)
        CHECK(o.error().kind == cofork::failure_kind::not_started);
    CHECK(now->inits <= 50 + 2 + 5);
}

TEST_CASE("workers are replaced by age, between two items", "[pool][life][F53]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .max_age = 60ms}};
    const auto begin = std::chrono::steady_clock::now();
    const auto pids = test::run(context, cofork::parallel(pool, slow_pid, test::numbers(30), {.chunk = 1}));
    const auto ages = (std::chrono::steady_clock::now() - begin) / 60ms;
    CHECK(distinct(pids).size() >= 4);
    CHECK(static_cast<long>(distinct(pids).size()) <= ages + 1);
}

namespace {

int leaks(int item)
{
    constexpr std::size_t size = std::size_t{1} << 20;
    auto* const lost = static_cast<volatile char*>(std::malloc(size)); // volatile: else clang leaves it out
    for (std::size_t i = 0; i < size; i += 4096)
        lost[i] = static_cast<char>(item);
    return pid_of_worker(item);
}

} // namespace

TEST_CASE("workers that grow are replaced, and no item is lost", "[pool][life][F53][F93]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .max_growth = std::size_t{16} << 20}};
    const auto outcomes = test::run(context, cofork::try_parallel(pool, leaks, test::numbers(200)));
    std::set<int> pids;
    for (const auto& outcome : outcomes) {
        REQUIRE(outcome);
        pids.insert(*outcome);
    }
    CHECK(pids.size() >= 4);
    CHECK(pool.stats().ended >= 3);
    CHECK(pool.stats().killed == 0);
}

// What the program had counts for no worker.
TEST_CASE("a worker that does not grow stays, however large the program is", "[pool][life][F53]")
{
    const test::leaves_nothing nothing;
    const std::vector<char> ballast(std::size_t{64} << 20, 'x');
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .max_growth = std::size_t{16} << 20}};
    const auto pids = test::run(context, cofork::parallel(pool, pid_of_worker, test::numbers(200), {.chunk = 1}));
    CHECK(distinct(pids).size() == 1);
    CHECK(ballast.back() == 'x');
}

TEST_CASE("a pool changes its size while it works, and loses nothing", "[pool][life][F54]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 6}};
    const auto counts = [](int item) {
        const int running = ++now->now_running;
        for (int most = now->most_running; running > most && !now->most_running.compare_exchange_weak(most, running);) {
        }
        std::this_thread::sleep_for(2ms);
        --now->now_running;
        return 2 * item;
    };
    const auto items = test::numbers(600);
    test::started<std::vector<int>> call{context, cofork::parallel(pool, counts, items, {.chunk = 1})};
    unsigned sizes = 0;
    while (!call.ended()) {
        pool.resize(1 + sizes++ % 6);
        context.run_for(20ms);
    }
    test::require_twice(call.finish(), items.size());
    CHECK(now->most_running > 3);
    pool.resize(2);
    test::run(context, cofork::run(pool, test::twice, 1));
    now->most_running = 0;
    test::run(context, cofork::parallel(pool, counts, items, {.chunk = 1}));
    CHECK(now->most_running == 2);
}
