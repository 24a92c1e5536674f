// Ways for a worker to die of what its item does, or with its nursery: that costs what was running, and nothing else.

#include "support/faults.hpp"

#include <cofork/run.hpp>

#include <pthread.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <stdexcept>

#undef NDEBUG // an assertion that fails is one of the ways to die
#include <cassert>

/// Not in the unnamed namespace: there the optimiser knows of one implementation only, and calls that.
namespace too_early {

struct abstract {
    abstract() { call_too_early(); }
    virtual ~abstract() = default;
    void call_too_early()
    {
        abstract* volatile self = this; // hides what it points to
        self->not_yet();
    }
    virtual void not_yet() = 0;
};
struct concrete : abstract {
    void not_yet() override {}
};

} // namespace too_early

namespace {

using cofork::failure;
using cofork::failure_kind;

constexpr std::size_t most_items = 128;

struct board {
    std::array<std::atomic<int>, most_items> starts; // by item
    std::array<std::atomic<int>, most_items> finishes;
    std::atomic<pid_t> pid;
    std::atomic<int> exit_handlers;
};
board* now = nullptr;
using shared_board = test::shared_at<now>;

struct many {
    std::array<std::atomic<int>, 4000> starts; // by item
};
many* cheap = nullptr;

/// Each of these is at another place among those that are claimed together.
bool is_deadly(int x)
{
    return x >= 2000 && (x - 2000) % 211 == 0;
}

int cheap_or_deadly(int x)
{
    ++cheap->starts[static_cast<std::size_t>(x)];
    if (is_deadly(x))
        ::raise(SIGKILL);
    return x;
}

// Ways to die.

__attribute__((no_sanitize("undefined", "address"))) void write_to_null()
{
    volatile int* volatile nowhere = nullptr;
    *nowhere = 1;
}

__attribute__((no_sanitize("undefined"))) void divide_by_zero()
{
    volatile int many = 1000, none = 0;
    many = many / none;
}

void throws()
{
    throw std::runtime_error{"out of a noexcept function"};
}
void throw_from_noexcept() noexcept
{
    throws();
}

void kill_own_group()
{
    ::kill(0, SIGTERM);
    test::hang();
}

struct way {
    const char* name;
    void (*die)();
    int signal; // that ends the worker; 0 when it exits
    int exit_code;
};

constexpr way ways[] = {
    {"SIGSEGV", [] { ::raise(SIGSEGV); }, SIGSEGV, -1},
    {"SIGBUS", [] { ::raise(SIGBUS); }, SIGBUS, -1},
    {"SIGFPE", [] { ::raise(SIGFPE); }, SIGFPE, -1},
    {"SIGILL", [] { ::raise(SIGILL); }, SIGILL, -1},
    {"SIGABRT", [] { ::raise(SIGABRT); }, SIGABRT, -1},
    {"SIGSYS", [] { ::raise(SIGSYS); }, SIGSYS, -1},
    {"SIGTRAP", [] { ::raise(SIGTRAP); }, SIGTRAP, -1},
    {"writes to null", write_to_null, SIGSEGV, -1},
    {"divides by zero", divide_by_zero, SIGFPE, -1},
    {"_exit(0)", [] { ::_exit(0); }, 0, 0},
    {"_exit(99)", [] { ::_exit(99); }, 0, 99},
    {"exit(3)", [] { std::exit(3); }, 0, 3},
    {"quick_exit(4)", [] { std::quick_exit(4); }, 0, 1}, // a handler of quick_exit is not told the status
    {"abort", [] { std::abort(); }, SIGABRT, -1},
    {"fails an assertion", [] { assert(false); }, SIGABRT, -1},
    {"std::terminate", [] { std::terminate(); }, SIGABRT, -1},
    {"throws from noexcept", throw_from_noexcept, SIGABRT, -1},
    {"calls a pure virtual function", [] { too_early::concrete{}; }, SIGABRT, -1},
    {"pthread_exit", [] { ::pthread_exit(nullptr); }, 0, 1},
    {"kills its own process group", kill_own_group, SIGTERM, -1},
};

/// Item w * most_items + k: the item k, which dies in the way w - 1; w = 0: it lives.
constexpr int doomed(std::size_t way_index, int item)
{
    return static_cast<int>(way_index + 1) * static_cast<int>(most_items) + item;
}

int mortal(int item)
{
    const auto k = static_cast<std::size_t>(item) % most_items;
    ++now->starts[k];
    if (const auto w = static_cast<std::size_t>(item) / most_items; w > 0)
        ways[w - 1].die();
    ++now->finishes[k];
    return 2 * static_cast<int>(k);
}

void check_death(const failure& why, const way& w)
{
    CHECK(why.kind == failure_kind::crashed);
    CHECK(why.signal == w.signal);
    CHECK(why.exit_code == w.exit_code);
    CHECK(why.pid > 0);
    CHECK(why.attempts == 1);
    CHECK_FALSE(why.what.empty());
    CHECK(test::is_gone(why.pid));
}

/// What `mortal` gives for all items but `dead`, each of which was started once.
void check_survivors(const std::vector<cofork::outcome<int>>& all, const std::vector<std::size_t>& dead)
{
    for (std::size_t i = 0; i < all.size(); ++i) {
        CAPTURE(i);
        CHECK(now->starts[i] == 1);
        const bool is_dead = std::find(dead.begin(), dead.end(), i) != dead.end();
        REQUIRE(all[i].has_value() == !is_dead);
        if (is_dead)
            CHECK(all[i].error().index == i);
        else
            CHECK(*all[i] == 2 * static_cast<int>(i));
    }
}

} // namespace

TEST_CASE("an item that kills its worker fails alone, whatever the way", "[fault][F1][F8][F11][F12][F13]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};

    for (std::size_t w = 0; w < std::size(ways); ++w) {
        for (const std::size_t at : {std::size_t{0}, std::size_t{31}, std::size_t{63}}) {
            CAPTURE(ways[w].name, at);
            std::vector<int> items = test::numbers(64);
            items[at] = doomed(w, items[at]);
            for (auto& s : now->starts)
                s = 0;

            const auto all = test::run(context, cofork::try_parallel(pool, mortal, items, {.workers = 1, .chunk = 64}));

            REQUIRE(all.size() == 64);
            check_survivors(all, {at});
            check_death(all[at].error(), ways[w]);
        }
    }
    test::still_works(context, pool);
    test::snapshot_works(context);
    test::runs_dry(context);
}

TEST_CASE("an item of a snapshot that kills its worker fails alone, whatever the way", "[fault][F1][F11][F12][F13]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};

    for (std::size_t w = 0; w < std::size(ways); ++w) {
        CAPTURE(ways[w].name);
        const auto alone = test::run(context, cofork::try_run(mortal, doomed(w, 0)));
        REQUIRE_FALSE(alone.has_value());
        check_death(alone.error(), ways[w]);

        std::vector<int> items = test::numbers(20);
        items[7] = doomed(w, 7);
        for (auto& s : now->starts)
            s = 0;
        const auto all = test::run(context, cofork::try_parallel(mortal, items, {.workers = 2}));
        check_survivors(all, {7});
        check_death(all[7].error(), ways[w]);
    }
    test::snapshot_works(context);
    test::runs_dry(context);
}

TEST_CASE("several poisoned items of one batch fail, the others succeed once", "[fault][F9]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::vector<int> items = test::numbers(64);
    const std::vector<std::size_t> dead{0, 1, 17, 40, 62, 63};
    for (const std::size_t i : dead)
        items[i] = doomed(0, items[i]);

    const auto all = test::run(context, cofork::try_parallel(pool, mortal, items, {.chunk = 64}));

    check_survivors(all, dead);
    CHECK(pool.stats().spawned <= dead.size() + 1);
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("exit in a worker runs none of the program's exit handlers", "[fault][F12]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    test::helper_process program{[] {
        const auto count = [] {
            if (now)
                ++now->exit_handlers;
        };
        std::atexit(count);
        std::at_quick_exit(count);
        asio::io_context context{1};
        for (std::size_t w = 0; w < std::size(ways); ++w) {
            if (ways[w].signal == 0)
                (void)test::run(context, cofork::try_run(mortal, doomed(w, 0)));
        }
    }};
    CHECK(program.status() == 0);
    CHECK(now->exit_handlers == 0);
}

TEST_CASE("a worker that dies of an earlier item's timer has delivered that item", "[fault][F19]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto f = [](int item) {
        if (item == 0) {
            const itimerval soon{{0, 0}, {0, 20'000}};
            ::setitimer(ITIMER_REAL, &soon, nullptr);
        }
        if (item == 1)
            test::hang();
        return 2 * item;
    };
    const auto all = test::run(context, cofork::try_parallel(pool, f, test::numbers(16), {.chunk = 16}));
    for (std::size_t i = 0; i < all.size(); ++i) {
        REQUIRE(all[i].has_value() == (i != 1));
        if (all[i])
            CHECK(*all[i] == 2 * static_cast<int>(i));
    }
    CHECK(all[1].error().signal == SIGALRM);
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("a pool whose nursery is killed makes a new one and loses only what ran", "[fault][nursery]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};

    SECTION("while nothing runs")
    {
        const std::vector<int> items = test::numbers(200);
        std::vector<cofork::worker_state> workers;
        int killed = 0;
        while (killed < 10) {
            // A worker may still be there for a moment, and take an item with it.
            const auto all = test::run(context, cofork::try_parallel(pool, test::twice, items));
            for (std::size_t i = 0; i < all.size(); ++i)
                CHECK((all[i] ? *all[i] == 2 * items[i] : all[i].error().signal == SIGKILL));
            workers = pool.worker_states();
            for (const pid_t nursery : test::nurseries()) // none, when it was lost while the last call ended
                killed += ::kill(nursery, SIGKILL) == 0 ? 1 : 0;
        }
        // The last ones are to take no item of what comes.
        CHECK(test::eventually([&] {
            return std::ranges::all_of(workers, [](const auto& w) { return test::state_of(w.pid) == 'Z' || test::is_gone(w.pid); });
        }));
    }
    SECTION("while an item runs")
    {
        const auto f = [](int item) {
            ++now->starts[static_cast<std::size_t>(item)];
            if (item == 3) {
                now->pid = ::getpid();
                test::hang();
            }
            return 2 * item;
        };
        const std::vector<int> items = test::numbers(16);
        test::started call{context, cofork::try_parallel(pool, f, items, {.workers = 1, .chunk = 16})};
        REQUIRE(test::run_until(context, [] { return now->pid != 0; }));
        ::kill(test::nurseries().at(0), SIGKILL);
        const auto all = call.finish();
        check_survivors(all, {3});
        CHECK(all[3].error().kind == failure_kind::crashed);
    }
    test::still_works(context, pool);
    test::snapshot_works(context);
    test::runs_dry(context);
}

TEST_CASE("of items so cheap that some are claimed at once only the one that crashes fails, and none runs twice", "[fault][F9]")
{
    const test::leaves_nothing nothing;
    const test::shared_at<cheap> shared;
    asio::io_context context{1};
    const std::vector<int> items = test::numbers(cheap->starts.size());
    std::vector<cofork::outcome<int>> all;
    SECTION("in a pool")
    {
        cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
        all = test::run(context, cofork::try_parallel(pool, cheap_or_deadly, items));
    }
    SECTION("in a snapshot")
    {
        all = test::run(context, cofork::try_parallel(cheap_or_deadly, items, {.workers = 2}));
    }
    REQUIRE(all.size() == items.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
        INFO("item " << i);
        CHECK(all[i].has_value() == !is_deadly(items[i]));
        CHECK(cheap->starts[i] == 1);
    }
}
