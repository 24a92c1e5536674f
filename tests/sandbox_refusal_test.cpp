// Where a sandbox cannot be had whole nothing runs in what is left of it, but for those who agree to that.

#include "support/faults.hpp"
#include "support/sandbox.hpp"
#include "support/seccomp.hpp"

#include "system_call_filter.hpp"

#include <cofork/error.hpp>
#include <cofork/policy.hpp>
#include <cofork/run.hpp>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>

#include <grp.h>
#include <liburing.h>
#include <sched.h>

namespace {

using Catch::Matchers::ContainsSubstring;
using cofork::containment;
using cofork::policy;
using cofork::protection;
using test::landlock_has_scopes;
using test::require_root_without_sanitizer;
using test::small;

template <typename Call>
std::system_error refusal_of(asio::io_context& context, Call call)
{
    try {
        test::run(context, std::move(call));
    }
    catch (const std::system_error& e) {
        return e;
    }
    return std::system_error{std::error_code{}, "not refused"};
}

struct lack {
    const char* what; // as the refusal says it
    std::vector<long> calls;
    containment level;
    protection missing;
    int error = EPERM; // 0: they do nothing, and say that all went well
};

/// In a child of the test. Empty: without that part no worker runs, or it says that it has not got it.
std::string complaint_without(const lack& lacks)
{
    const bool only_asks = lacks.calls[0] == SYS_kill; // with a kill(2) that does nothing no nursery would end its workers
    if (!(only_asks ? test::pretend_to_reach_all() : test::forbid(lacks.calls, lacks.error)))
        return "cannot be forbidden";
    asio::io_context context{1};
    policy p;
    p.level = lacks.level;
    p.processes = false;
    {
        cofork::pool pool{context, {.workers = 1, .sandbox = p}};
        const auto why = refusal_of(context, cofork::run(pool, test::twice, 1));
        if (why.code() != cofork::errc::boot_failed || !std::strstr(why.what(), lacks.what))
            return std::string{"refused with: "} + why.what();
    }
    p.missing = cofork::if_unavailable::degrade;
    cofork::pool pool{context, {.workers = 1, .sandbox = p}};
    if (test::run(context, cofork::run(pool, test::twice, 1)) != 2)
        return "degraded, it does not work";
    return (pool.enforced() & lacks.missing) != protection::none ? "enforces what it cannot" : "";
}

} // namespace

TEST_CASE("where a part of the sandbox cannot be had, workers do not run without it", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    using enum containment;
    const std::array lacks{
        lack{"RLIMIT_FSIZE", {SYS_prlimit64}, isolated, protection::amounts},
        lack{"no new privileges", {SYS_prctl}, isolated, protection::no_privileges},
        lack{"landlock", {SYS_landlock_create_ruleset}, isolated, protection::files | protection::signals},
        lack{"seccomp", {SYS_seccomp}, isolated, protection::system_calls},
        lack{"namespaces", {SYS_unshare}, isolated, protection::namespaces},
        lack{"another user", {SYS_setresuid}, isolated, protection::user},
        // Who believes what such a call answers has nothing.
        lack{"RLIMIT_FSIZE", {SYS_prlimit64}, limits, protection::amounts, 0},
        lack{"no new privileges", {SYS_prctl}, limits, protection::no_privileges, 0},
        lack{"system calls are not filtered", {SYS_seccomp}, limits, protection::system_calls, 0},
        lack{"system calls are not filtered", {SYS_seccomp}, strict, protection::system_calls, 0},
        lack{"files can still be opened", {SYS_landlock_restrict_self}, strict, protection::files | protection::signals, 0},
        lack{"signals still reach", {SYS_kill}, strict, protection::signals, 0},
        lack{"namespaces", {SYS_unshare}, isolated, protection::namespaces, 0},
        lack{"another user", {SYS_setresuid}, isolated, protection::user, 0},
    };
    policy any;
    any.level = strict;
    cofork::detail::make_rules(any); // libseccomp asks the kernel once what it can, and must not get these answers
    for (const lack& each : lacks) {
        if (each.calls[0] == SYS_kill && !landlock_has_scopes())
            continue;
        INFO(each.what << " where the call gives " << each.error);
        CHECK(test::complaint_of_child([&] { return complaint_without(each); }) == "");
    }
}

namespace {

/// From root to somebody without rights, as a program that such a user has started.
bool becomes_a_normal_user()
{
    constexpr uid_t somebody = 65533; // not the one that a worker of root becomes
    return ::setgroups(0, nullptr) == 0 && ::setresgid(somebody, somebody, somebody) == 0
        && ::setresuid(somebody, somebody, somebody) == 0 && ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
}

} // namespace

// Who is not root has the right to other namespaces in a user namespace alone, which administrators switch off.
TEST_CASE("a normal user's workers are isolated, too", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    const std::string impossible = test::complaint_of_child([]() -> std::string {
        const bool can = becomes_a_normal_user() && ::unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) == 0;
        return can ? "" : std::strerror(errno);
    });
    if (!impossible.empty())
        SKIP("no user namespaces here: " << impossible);
    CHECK(test::complaint_of_child([]() -> std::string {
        if (!becomes_a_normal_user())
            return "cannot become one";
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::isolated)}};
        if (test::run(context, cofork::run(pool, test::twice, 1)) != 2)
            return "does not work";
        const protection on = pool.enforced();
        return has(on, protection::namespaces | protection::user) ? "" : "enforces " + std::to_string(static_cast<unsigned>(on));
    }) == "");
}

// What the kernel's calls bind is the thread that makes them.
TEST_CASE("threads that init leaves running are outside, so a strict worker does not run with them", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    struct idle_thread {
        std::thread runs{test::hang};
    };
    const auto pool_with = [&](auto init, containment level, cofork::if_unavailable missing) {
        policy p;
        p.level = level;
        p.missing = missing;
        return std::make_unique<cofork::pool>(context, cofork::pool_options{.workers = 1, .init = init, .sandbox = p});
    };
    const auto leaves_one = [] { return idle_thread{}; };
    const auto ends_it = [] {
        std::thread{[] {}}.join();
        return 0;
    };
    const auto shut_in = protection::files | protection::system_calls;
    for (const auto level : {containment::strict, containment::isolated}) {
        const auto refusing = pool_with(leaves_one, level, cofork::if_unavailable::refuse);
        const auto why = refusal_of(context, cofork::run(*refusing, test::twice, 1));
        CHECK(why.code() == cofork::errc::boot_failed);
        CHECK_THAT(why.what(), ContainsSubstring("init left threads running"));
        const auto degraded = pool_with(leaves_one, level, cofork::if_unavailable::degrade);
        CHECK(test::run(context, cofork::run(*degraded, test::twice, 1)) == 2);
        CHECK((degraded->enforced() & shut_in) == protection::none);
        const auto strict = pool_with(ends_it, level, cofork::if_unavailable::refuse);
        CHECK(test::run(context, cofork::run(*strict, test::twice, 1)) == 2);
        CHECK(has(strict->enforced(), shut_in));
    }
    const auto limited = pool_with(leaves_one, containment::limits, cofork::if_unavailable::refuse);
    CHECK(test::run(context, cofork::run(*limited, test::twice, 1)) == 2);
}

// io_uring_setup(2): with IORING_SETUP_SQPOLL what is written into the ring's memory is carried out, without a system call
// that a filter could see, by a thread of the kernel that landlock does not bind.
TEST_CASE("an io_uring that init leaves polling is outside, so a strict worker does not run with it", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    struct ring {
        explicit ring(unsigned flags) { made = ::io_uring_queue_init(1, &all, flags) == 0; }
        ~ring()
        {
            if (made)
                ::io_uring_queue_exit(&all);
        }
        ring(const ring&) = delete;
        ring& operator=(const ring&) = delete;
        io_uring all{};
        bool made = false;
    };
    if (!ring{IORING_SETUP_SQPOLL}.made)
        SKIP("io_uring is not available here");
    asio::io_context context{1};
    const auto pool_with = [&](unsigned flags) {
        policy p;
        p.level = containment::strict;
        const auto init = [flags] { return std::make_unique<ring>(flags); };
        return std::make_unique<cofork::pool>(context, cofork::pool_options{.workers = 1, .init = init, .sandbox = p});
    };
    const auto polled = pool_with(IORING_SETUP_SQPOLL);
    const auto why = refusal_of(context, cofork::run(*polled, test::twice, 1));
    CHECK(why.code() == cofork::errc::boot_failed);
    CHECK_THAT(why.what(), ContainsSubstring("IORING_SETUP_SQPOLL"));
    const auto entered = pool_with(0); // only io_uring_enter(2) makes this one work, which is forbidden
    CHECK(test::run(context, cofork::run(*entered, test::twice, 1)) == 2);
}

TEST_CASE("nothing runs outside a sandbox by mistake", "[sandbox]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const policy p = small(containment::limits);
    cofork::pool pool{context, {.workers = 1, .sandbox = p}};
    const auto refused = [&](auto call) { return refusal_of(context, std::move(call)).code() == cofork::errc::invalid_options; };
    CHECK(refused(cofork::run(pool, test::twice, 1, cofork::options{.workers = 0})));
    CHECK(refused(cofork::run(pool, test::twice, 1, cofork::options{.sandbox = &p})));
    CHECK(refused(cofork::run(test::twice, 1, cofork::options{.workers = 0, .sandbox = &p})));
}
