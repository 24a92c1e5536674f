// What is known of a worker that crashed, or that was killed because it took too long.

#include "support/faults.hpp"

#include "blame.hpp"

#include <cofork/run.hpp>

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

using cofork::failure;
using cofork::failure_kind;
using Catch::Matchers::ContainsSubstring;
using Catch::Matchers::StartsWith;
using namespace std::chrono_literals;

// Functions with names that a report can tell. Not in the unnamed namespace, and not optimised into each other.

#ifdef __clang__
#define KEPT __attribute__((optnone, noinline, no_sanitize("undefined", "address")))
#else
#define KEPT __attribute__((noipa, no_sanitize("undefined", "address")))
#endif

constexpr int line_of_the_crash = __LINE__ + 4;
KEPT int reads_null(int)
{
    volatile int* volatile nowhere = nullptr;
    const int value = *nowhere; // the line of the crash
    return value;
}

KEPT int reads_far_away(int)
{
    volatile int* volatile far_away = reinterpret_cast<int*>(0xdead0000);
    return *far_away;
}

KEPT int jumps_to_null(int item)
{
    int (*volatile nowhere)(int) = nullptr;
    return nowhere(item) + 1;
}

KEPT int recurses(int depth)
{
    volatile char frame[256];
    frame[0] = static_cast<char>(depth);
    return depth < 0 ? 0 : recurses(depth + 1) + frame[0];
}

KEPT int throws(int)
{
    throw std::invalid_argument{"no such number"};
}

KEPT int throws_from_noexcept(int item) noexcept
{
    return throws(item) + 1;
}

KEPT int gives_up(int)
{
    std::abort();
}

KEPT int never_ends(int item)
{
    for (volatile bool forever = true; forever;)
        ;
    return item;
}

KEPT int sleeps(int item)
{
    ::pause();
    return item;
}

namespace {

failure failure_of(int (*f)(int), const cofork::options& o = {})
{
    asio::io_context context{1};
    const std::vector<int> items{1};
    const auto outcomes = test::run(context, cofork::try_parallel(f, items, o));
    REQUIRE(outcomes.size() == 1);
    REQUIRE_FALSE(outcomes[0].has_value());
    return outcomes[0].error();
}

} // namespace

TEST_CASE("a crash is told with its signal, address, function and line", "[crash][F1]")
{
    const test::leaves_nothing nothing;
    const failure why = failure_of(reads_null);
    CHECK(why.kind == failure_kind::crashed);
    CHECK(why.signal == SIGSEGV);
    CHECK(why.address == 0);
    CHECK_FALSE(why.stack_overflow);
    CHECK_THAT(why.what, StartsWith("signal 11 (SIGSEGV) at address 0x0 in reads_null(int)"));
    CHECK_THAT(why.backtrace, StartsWith("#0 reads_null(int)"));
    CHECK(why.backtrace.find("run_item") == std::string::npos); // the worker's own frames say nothing
#ifdef COFORK_LIBDW
    CHECK_THAT(why.what, ContainsSubstring("(crash_report_test.cpp:" + std::to_string(line_of_the_crash)));
#endif
    const failure other = failure_of(reads_far_away);
    CHECK(other.address == 0xdead0000);
    CHECK_THAT(other.what, StartsWith("signal 11 (SIGSEGV) at address 0xdead0000 in reads_far_away(int)"));
}

TEST_CASE("a jump into nothing is a crash like any other", "[crash][F17]")
{
    const test::leaves_nothing nothing;
    const failure why = failure_of(jumps_to_null);
    CHECK(why.signal == SIGSEGV);
    CHECK(why.address == 0);
    CHECK_THAT(why.what, StartsWith("signal 11 (SIGSEGV) at address 0x0"));
}

TEST_CASE("an overflow of the stack is called so", "[crash][F15]")
{
    const test::leaves_nothing nothing;
    const failure why = failure_of(recurses);
    CHECK(why.signal == SIGSEGV);
    CHECK(why.stack_overflow);
    CHECK_THAT(why.what, StartsWith("signal 11 (SIGSEGV), stack overflow in recurses(int)"));
}

TEST_CASE("an uncaught exception is told with type and text", "[crash][F13]")
{
    const test::leaves_nothing nothing;
    const failure why = failure_of(throws_from_noexcept);
    CHECK(why.signal == SIGABRT);
    CHECK_THAT(why.what, StartsWith("signal 6 (SIGABRT) in throws")); // or the function that let it not pass: compilers differ
    CHECK_THAT(why.backtrace, ContainsSubstring("throws_from_noexcept(int)"));
    CHECK_THAT(why.what, ContainsSubstring("after an uncaught std::invalid_argument: no such number"));
    CHECK_THAT(failure_of(gives_up).what, StartsWith("signal 6 (SIGABRT) in gives_up(int)"));
}

TEST_CASE("a crash in a thread of f is told, its stack overflow by the signal alone", "[crash][F16]")
{
    const test::leaves_nothing nothing;
    const auto in_thread = [](int item) {
        std::thread{[item] { reads_null(item); }}.join();
        return item;
    };
    const failure why = failure_of(+in_thread);
    CHECK(why.signal == SIGSEGV);
    CHECK_THAT(why.what, ContainsSubstring("reads_null(int)"));
    const auto deep_thread = [](int item) {
        std::thread{[item] { recurses(item); }}.join();
        return item;
    };
    CHECK(failure_of(+deep_thread).signal == SIGSEGV);
}

TEST_CASE("a broken heap is told as the abort that it ends in", "[crash][F17]")
{
    const test::leaves_nothing nothing;
    const auto frees_twice = [](int item) {
        void* volatile memory = ::malloc(64);
        ::free(memory);
        ::free(memory); // NOLINT
        return item;
    };
    const failure why = failure_of(+frees_twice);
    CHECK(why.kind == failure_kind::crashed);
    CHECK((why.signal == SIGABRT || why.exit_code == 1)); // AddressSanitizer reports and exits
}

TEST_CASE("of an item that takes too long the report says where it was", "[crash][F34]")
{
    const test::leaves_nothing nothing;
    const cofork::options short_time{.timeout = 100ms};
    // A worker that gets no processor for the 20 ms in which it could tell is killed all the same: then another one is asked.
    const auto late = [&](int (*f)(int), const std::string& where) {
        failure why;
        for (int tries = 0; tries < 5 && why.what.find(where) == std::string::npos; ++tries) {
            why = failure_of(f, short_time);
            CHECK(why.kind == failure_kind::timeout);
            CHECK(why.signal == SIGKILL);
        }
        return why;
    };
    CHECK_THAT(late(never_ends, "in never_ends(int)").what, ContainsSubstring("in never_ends(int)"));
    const std::string where = "pause, called from sleeps(int)";
    CHECK_THAT(late(sleeps, where).what, ContainsSubstring(where));
    const auto deaf = [](int item) {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        return never_ends(item);
    };
    const auto before = std::chrono::steady_clock::now();
    const failure silent = failure_of(+deaf, short_time);
    CHECK(silent.kind == failure_kind::timeout);
    CHECK(silent.signal == SIGKILL);
    CHECK(silent.backtrace.empty());
    CHECK(std::chrono::steady_clock::now() - before < 2s);
}

namespace {

std::vector<cofork::slow_item> seen; // on_slow captures no more than a pointer

} // namespace

KEPT int takes_its_time(int item)
{
    const auto end = std::chrono::steady_clock::now() + (item < 0 ? 300ms : 1ms);
    while (std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(1ms);
    return item;
}

TEST_CASE("an item that takes long is told while it runs, and goes on", "[crash][F43]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const std::vector<int> items{1, -2, 3, -4, 5, 6};
    for (const auto timeout : {0ms, 20'000ms}) {
        seen.clear();
        const cofork::options o{.timeout = timeout, .slow = 50ms, .chunk = items.size(), .on_slow = [](const cofork::slow_item& which) {
            seen.push_back(which);
        }};
        CHECK(test::run(context, cofork::parallel(pool, takes_its_time, items, o)) == items);
        REQUIRE(seen.size() == 2);
        CHECK(seen[0].index == 1);
        CHECK(seen[1].index == 3);
        for (const cofork::slow_item& each : seen) {
            CHECK(each.attempt == 1);
            CHECK(each.elapsed >= 50ms);
            CHECK(each.pid > 0);
            CHECK_THAT(each.backtrace, ContainsSubstring("takes_its_time(int)"));
        }
        CHECK(pool.stats().ended == 0);
    }
}

TEST_CASE("an item that takes long and cannot be asked is told all the same", "[crash][F43]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    seen.clear();
    const auto deaf = [](int item) {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        return takes_its_time(item);
    };
    const cofork::options o{.slow = 30ms, .on_slow = [](const cofork::slow_item& which) { seen.push_back(which); }};
    CHECK(test::run(context, cofork::run(pool, +deaf, -1, o)) == -1);
    REQUIRE(seen.size() == 1);
    CHECK(seen[0].backtrace.empty());
    test::still_works(context, pool);
}

TEST_CASE("a crash after a look is told as the crash", "[crash][F43]")
{
    const test::leaves_nothing nothing;
    const auto outcome = failure_of([](int item) { return takes_its_time(-item) + reads_null(item); }, {.slow = 20ms});
    CHECK(outcome.signal == SIGSEGV);
    CHECK_THAT(outcome.what, ContainsSubstring("in reads_null(int)"));
}

TEST_CASE("a child of f crashes on its own", "[crash][F85]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const auto forks = [](int item) {
        const pid_t child = ::fork();
        if (child == 0) {
            reads_null(item);
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child, &status, 0);
        return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    };
    CHECK(test::run(context, cofork::run(+forks, 1)) == SIGSEGV);
}

TEST_CASE("crashes are told when the process that knows the names was killed", "[crash][fault]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    for (int round = 0; round < 10; ++round) {
        const auto outcome = test::run(context, cofork::try_run(pool, reads_null, 1));
        REQUIRE_FALSE(outcome.has_value());
        CHECK(outcome.error().signal == SIGSEGV);
        CHECK_THAT(outcome.error().what, StartsWith("signal 11 (SIGSEGV) at address 0x0"));
        for (const pid_t nursery : test::nurseries()) {
            for (const pid_t child : test::children_of(nursery)) {
                if (test::is_called(child, "cofork-symbols"))
                    ::kill(child, SIGKILL);
            }
        }
    }
    test::still_works(context, pool);
}

// The news of a first crash waits for the names of its functions, and the item's time passes meanwhile.
TEST_CASE("a worker that had ended by itself when it was to be killed for its time has crashed", "[crash][F1][F34]")
{
    using namespace cofork::detail;
    const page_view page{std::make_shared<shared_pages>(1), 0};
    const auto kind_of = [&](int code, int status) {
        const nursery_report told{nursery_news::ended, 0, 1, 4711, 0, code, status};
        return blame({told, kill_reason::timeout, nullptr, nullptr}, page, 4711, true).kind;
    };
    CHECK(kind_of(CLD_KILLED, SIGSEGV) == failure_kind::crashed);
    CHECK(kind_of(CLD_EXITED, 3) == failure_kind::crashed);
    CHECK(kind_of(CLD_KILLED, SIGKILL) == failure_kind::timeout);
}

// A worker that had crashed before its item's time was over, and was killed while the names of its crash were looked up, was
// a crash in the failure and none in the events and the numbers.
TEST_CASE("a crash is told as one, also when the item's time passes before its names are known", "[crash]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    std::size_t told = 0;
    cofork::pool pool{context, {.workers = 1, .on_event = [&](const cofork::event& e) { told += e.kind == cofork::event_kind::crash; }}};
    const auto crashes_after = [](int ms) {
        std::this_thread::sleep_for(std::chrono::milliseconds{ms});
        gives_up(0);
        return 0;
    };
    std::size_t crashed = 0;
    for (std::size_t n = 0; n < 8; ++n) {
        const auto o = test::run(context, cofork::try_run(pool, crashes_after, 30, cofork::options{.timeout = 31ms + n * 1ms}));
        REQUIRE(!o);
        crashed += o.error().kind == failure_kind::crashed;
        CHECK(told == crashed);
        CHECK(pool.stats().crashed == crashed);
        CHECK(pool.stats().killed == n + 1 - crashed);
    }
}
