// What f does to its own process, without malice: it changes it, leaves it, uses the program's things.

#include "support/asio_backend.hpp"
#include "support/faults.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>
#include <cofork/wait.hpp>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <array>
#include <csetjmp>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <optional>
#include <thread>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

std::jmp_buf programs_frame;

int jump(int)
{
    std::longjmp(programs_frame, 1);
}

/// Waits for `what` in the worker, which has no loop.
template <typename Condition>
bool wait_for(Condition what)
{
    return test::eventually(what, test::long_enough);
}

} // namespace

TEST_CASE("f that jumps back into the program's code goes on in a copy that can do nothing, and its item fails",
    "[fault][F14][F91]")
{
    const test::leaves_nothing nothing;
    test::shared<std::atomic<int>> refused;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const pid_t program = ::getpid();
    std::vector<cofork::outcome<int>> outcomes;
    if (setjmp(programs_frame) == 0) {
        outcomes = test::run(context, cofork::try_parallel(jump, test::numbers(2), {.workers = 1}));
    }
    else if (::getpid() != program) { // the second life
        try {
            (void)cofork::wait(cofork::run(pool, test::twice, 1));
        }
        catch (const std::system_error& e) {
            *refused += e.code() == cofork::errc::forked_copy ? 1 : 0;
        }
        std::exit(5); // runs none of the program's handlers, else Catch2 would report a second time
    }
    REQUIRE(outcomes.size() == 2);
    for (const auto& outcome : outcomes) {
        CHECK(outcome.error().kind == failure_kind::crashed);
        CHECK(outcome.error().exit_code == 5);
    }
    CHECK(refused->load() == 2);
    test::still_works(context, pool);
}

namespace {

cofork::pool* programs_pool = nullptr;

int call_the_programs_pool(int)
{
    try {
        return cofork::wait(cofork::run(*programs_pool, test::twice, 1));
    }
    catch (const std::system_error& e) {
        return e.code() == cofork::errc::forked_copy ? -1 : -2;
    }
}

} // namespace

TEST_CASE("the program's pool says in a worker that it is a copy", "[fault][F91]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    programs_pool = &pool;
    CHECK(test::run(context, cofork::run(call_the_programs_pool, 0)) == -1);
    test::still_works(context, pool);
}

TEST_CASE("a fork of the program that ends in the ordinary way takes nothing with it", "[fault][F91]")
{
    if (test::asio_waits_by_ring)
        SKIP("Asio's own ring is the original's, whatever a fork does with it");
    const test::leaves_nothing nothing;
    const bool busy = GENERATE(false, true);
    CAPTURE(busy);
    std::optional<asio::io_context> context{1};
    std::optional<cofork::pool> pool{std::in_place, *context, cofork::pool_options{.workers = 1}};
    std::optional<test::started<int>> call;
    if (busy)
        call.emplace(*context, cofork::run(*pool, [](int x) { std::this_thread::sleep_for(300ms); return x; }, 4));
    test::still_works(*context, *pool);
    test::helper_process fork{[&] {
        pool.reset();
        context.reset();
        ::_exit(7);
    }};
    const int status = fork.status();
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 7));
    if (busy)
        CHECK(call->finish() == 4);
    test::still_works(*context, *pool);
    call.reset();
    pool.reset();
}

namespace {

/// Kills, whatever its handler is (signal(7)); a sanitizer would report it instead.
__attribute__((no_sanitize("undefined", "address"))) void write_to_null()
{
    volatile int* volatile nowhere = nullptr;
    *nowhere = 1;
}

int change_everything(int item)
{
    if (item == 0) {
        sigset_t all;
        ::sigfillset(&all);
        ::sigprocmask(SIG_SETMASK, &all, nullptr);
        for (int signo = 1; signo < NSIG; ++signo)
            ::signal(signo, SIG_IGN);
        ::signal(SIGALRM, SIG_DFL);
        const stack_t no_stack{nullptr, SS_DISABLE, 0};
        ::sigaltstack(&no_stack, nullptr);
        ::umask(0777);
        (void)!::chdir("/");
        ::setenv("LC_ALL", "nonsense", 1);
        (void)!::nice(3);
        const itimerval soon{{0, 0}, {0, 50'000}};
        ::setitimer(ITIMER_REAL, &soon, nullptr); // without the block it kills
        const itimerval busy{{0, 0}, {0, 10'000}};
        ::setitimer(ITIMER_PROF, &busy, nullptr);
    }
    else if (item == 1)
        std::this_thread::sleep_for(100ms);
    else
        write_to_null();
    return item;
}

} // namespace

TEST_CASE("what f changes of its process stays there, and its timers end with it", "[fault][F88]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    sigset_t before, after;
    ::sigprocmask(SIG_SETMASK, nullptr, &before);
    const auto folder = std::filesystem::current_path();
    const mode_t mask = ::umask(0);
    ::umask(mask);
    const auto outcomes
        = test::run(context, cofork::try_parallel(pool, change_everything, test::numbers(3), {.chunk = 1}));
    CHECK(outcomes[0]);
    CHECK(outcomes[1]); // neither the timer nor the block of its predecessor's has reached it
    CHECK(outcomes[2].error().signal == SIGSEGV);
    ::sigprocmask(SIG_SETMASK, nullptr, &after);
    CHECK(std::equal(reinterpret_cast<char*>(&before), reinterpret_cast<char*>(&before) + NSIG / 8,
        reinterpret_cast<char*>(&after)));
    CHECK(std::filesystem::current_path() == folder);
    CHECK(::umask(mask) == mask);
    test::still_works(context, pool);
}

namespace {

/// 0: leaves a thread that works on; 1: one that crashes in the next item; else: waits for the crash.
int leave_threads(int item)
{
    static std::atomic<bool> crash{false};
    if (item == 0)
        std::thread{[] {
            for (;;)
                std::this_thread::sleep_for(1ms);
        }}.detach();
    else if (item == 1)
        std::thread{[] {
            wait_for([] { return crash.load(); });
            std::abort();
        }}.detach();
    else {
        crash = true;
        test::hang();
    }
    return item;
}

} // namespace

TEST_CASE("threads that f leaves behind harm at most the item that runs when they crash", "[fault][F89]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const std::vector<int> items{0, 0, 1, 2};
    const auto outcomes
        = test::run(context, cofork::try_parallel(pool, leave_threads, items, {.timeout = 20s, .chunk = 1}));
    for (const int i : {0, 1, 2})
        CHECK(outcomes[static_cast<std::size_t>(i)]);
    CHECK(outcomes[3].error().kind == failure_kind::crashed);
    CHECK(outcomes[3].error().signal == SIGABRT);
    test::still_works(context, pool);
}

namespace {

/// 0: fails for lack of memory, when there is none left even for the message; 1: lives in what is left.
int eat_memory(int item)
{
    if (item == 1)
        return item;
    const rlimit tight{std::size_t{1} << 20, RLIM_INFINITY}; // less than is in use: nothing more is given
    ::setrlimit(RLIMIT_DATA, &tight);
    ::setrlimit(RLIMIT_AS, &tight);
    for (std::size_t size = std::size_t{1} << 20; size > 0; size /= 2)
        while (::operator new(size, std::nothrow) != nullptr)
            ;
    throw std::bad_alloc{};
}

} // namespace

TEST_CASE("an item without any memory left can still say so", "[fault][F31]")
{
    if (test::forks_are_slow)
        SKIP("AddressSanitizer ends a program that has no memory");
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const std::vector<int> items{1, 0, 1, 1};
    const auto outcomes = test::run(context, cofork::try_parallel(pool, eat_memory, items, {.chunk = 1}));
    CHECK(outcomes[1].error().kind == failure_kind::exception);
    CHECK_THAT(outcomes[1].error().type, Catch::Matchers::ContainsSubstring("bad_alloc"));
    CHECK(outcomes[0]);
    CHECK(outcomes[2]);
    CHECK(outcomes[3]);
}
