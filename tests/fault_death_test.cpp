// Ways for a worker to die, at every point of an item's life.

#include "support/faults.hpp"
#include "support/worker_side.hpp"

#include "frame.hpp"

#include <cofork/run.hpp>

#include <asio/signal_set.hpp>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <thread>

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

using namespace std::chrono_literals;
using cofork::failure;
using cofork::failure_kind;

constexpr std::size_t most_items = 128;

struct board {
    std::array<std::atomic<int>, most_items> starts; // by item
    std::array<std::atomic<int>, most_items> finishes;
    std::array<std::atomic<pid_t>, 8> pids; // of workers that wait for each other
    std::atomic<int> running;
    std::atomic<pid_t> pid;
    std::atomic<int> go;
    std::atomic<int> exit_handlers;
};

/// What the functions below see. A plain pointer: they run in a pool, where captures cannot come along.
board* now = nullptr;

/// Shares a fresh board with the workers that are made after it.
struct shared_board {
    test::shared<board> memory;
    shared_board() { now = &*memory; }
    ~shared_board() { now = nullptr; }
};

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
        int killed = 0;
        while (killed < 10) {
            // A worker may still be there for a moment, and take an item with it.
            const auto all = test::run(context, cofork::try_parallel(pool, test::twice, items));
            for (std::size_t i = 0; i < all.size(); ++i)
                CHECK((all[i] ? *all[i] == 2 * items[i] : all[i].error().signal == SIGKILL));
            for (const pid_t nursery : test::nurseries()) // none, when it was lost while the last call ended
                killed += ::kill(nursery, SIGKILL) == 0 ? 1 : 0;
        }
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
