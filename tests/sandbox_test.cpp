// What a worker can do at each level of containment. Every probe has to succeed where nothing forbids it: else it would
// show nothing where something does.

#include "support/faults.hpp"
#include "support/probes.hpp"
#include "support/seccomp.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include "owned_fd.hpp"
#include "system_call_filter.hpp"

#include <cofork/error.hpp>
#include <cofork/policy.hpp>
#include <cofork/run.hpp>
#include <cofork/secret_region.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cstring>
#include <memory>
#include <random>
#include <thread>

#include <grp.h>
#include <liburing.h>

namespace {

using namespace std::chrono_literals;
using namespace test::probes;
using Catch::Matchers::ContainsSubstring;
using cofork::containment;
using cofork::failure_kind;
using cofork::limited;
using cofork::policy;
using cofork::protection;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
constexpr bool sanitized = false;
#endif

constexpr int done = 0;
constexpr int killed = -1;   // failure::limit is system_call
constexpr int too_much = -2; // ... memory
constexpr int too_long = -3; // ... file_size

struct probe {
    const char* name;
    int (*attempt)();
    int hygiene, limits, strict, isolated; // an errno, or one of the above
};

constexpr std::array golden{
    probe{"computes", computes, done, done, done, done},
    probe{"signals itself", signals_itself, done, done, done, done},
    probe{"reads a file", reads_a_file, done, done, EACCES, EACCES},
    probe{"makes a file", makes_a_file, done, done, EACCES, EACCES},
    probe{"reads the program's memory", reads_the_program, done, done, EACCES, EACCES},
    probe{"writes into the program's memory", writes_into_the_program, done, done, killed, killed},
    probe{"takes a descriptor of the program", takes_a_descriptor, done, done, killed, killed},
    probe{"looks at the program's limits", looks_at_the_programs_limits, done, done, killed, killed},
    probe{"signals the program", signals_the_program, done, done, killed, killed},
    probe{"signals a thread of the program", signals_a_thread_of_the_program, done, done, killed, killed},
    probe{"signals its parent", signals_its_parent, done, done, killed, killed},
    probe{"signals its group", signals_its_group, done, done, killed, killed},
    probe{"signals everybody", signals_everybody, done, done, killed, killed},
    probe{"connects", connects, done, done, killed, killed},
    probe{"binds a port", binds_a_port, done, done, killed, killed},
    probe{"binds an abstract name", binds_an_abstract_name, done, done, killed, killed},
    probe{"starts a program", starts_a_program, done, EAGAIN, EAGAIN, EAGAIN},
    probe{"becomes another program", becomes_another_program, done, done, killed, killed},
    probe{"forks", forks, done, EAGAIN, EAGAIN, EAGAIN},
    probe{"starts a thread", starts_a_thread, done, EAGAIN, EAGAIN, EAGAIN},
    probe{"maps code", maps_code, done, done, EPERM, EPERM},
    probe{"turns data into code", turns_data_into_code, done, done, EPERM, EPERM},
    probe{"makes a file in memory", makes_a_file_in_memory, done, done, ENOSYS, ENOSYS},
    probe{"makes a ring", makes_a_ring, done, done, killed, killed},
    probe{"handles page faults", handles_page_faults, done, done, killed, killed},
    probe{"makes a map of the kernel's", makes_a_map, done, done, killed, killed},
    probe{"mounts", mounts, done, done, killed, killed},
    probe{"types into a terminal", types, done, done, ENOTTY, ENOTTY},
    probe{"starts a session", starts_a_session, EPERM, EPERM, killed, killed}, // it leads a group: setsid(2)
    probe{"asks for a keyring", asks_for_a_keyring, done, done, killed, killed},
    probe{"leaves its namespaces", leaves_its_namespaces, done, done, killed, killed},
    probe{"is traced", is_traced, done, done, killed, killed},
    probe{"gains privileges", gains_privileges, done, EPERM, EPERM, EPERM},
    probe{"can be traced", can_be_traced, done, EPERM, EPERM, EPERM},
    probe{"shares a segment", shares_a_segment, done, done, killed, killed},
    probe{"shares memory", shares_memory, done, done, EPERM, EPERM},
    probe{"loads a library", loads_a_library, done, done, EACCES, EACCES},
    probe{"opens many files", opens_many_files, done, EMFILE, EMFILE, EMFILE},
    probe{"takes much memory", takes_much_memory, done, too_much, too_much, too_much},
    probe{"writes a large file", writes_a_large_file, done, too_long, EACCES, EACCES},
    probe{"is root", is_root, done, done, done, EPERM},
#if defined(__x86_64__)
    probe{"calls by the old way", calls_by_the_old_way, done, killed, killed, killed},
    probe{"calls in x32", calls_in_x32, done, killed, killed, killed},
#endif
};

int try_probe(int index)
{
    return golden[static_cast<std::size_t>(index)].attempt();
}

bool landlock_has_scopes()
{
    return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1 /* the version */) >= 6;
}

/// A port that is listened on, for as long as it lives.
class listener {
public:
    listener() : fd_{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)}
    {
        sockaddr_in here{};
        here.sin_family = AF_INET;
        here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof here;
        REQUIRE(::bind(fd_, reinterpret_cast<sockaddr*>(&here), size) == 0);
        REQUIRE(::listen(fd_, 100) == 0);
        REQUIRE(::getsockname(fd_, reinterpret_cast<sockaddr*>(&here), &size) == 0);
        port = ntohs(here.sin_port);
    }
    ~listener() { ::close(fd_); }
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

private:
    int fd_;
};

policy small(containment level)
{
    policy p;
    p.level = level;
    p.memory = std::size_t{128} << 20;
    p.file_size = std::size_t{1} << 20;
    p.files = 64;
    p.processes = false;
    return p;
}

/// Kernels are built or started without the system calls of 32-bit programs, and virtual machines have none. bpf(2) and TIOCSTI
/// can be switched off.
bool possible(const probe& p)
{
    bool is_optional = p.attempt == makes_a_map || p.attempt == types;
#if defined(__x86_64__)
    is_optional = is_optional || p.attempt == calls_by_the_old_way;
#endif
    if (!is_optional)
        return true;
    test::helper_process process{[&] {
        opens_a_terminal();
        ::_exit(p.attempt());
    }};
    return process.status() == 0;
}

int expected(const probe& p, containment level)
{
    switch (level) {
    case containment::hygiene: return p.hygiene;
    case containment::limits: return p.limits;
    case containment::strict: return p.strict;
    case containment::isolated: break;
    }
    return p.isolated;
}

int what_came_of_it(const cofork::outcome<int>& outcome)
{
    if (outcome)
        return *outcome;
    INFO(describe(outcome.error()));
    CHECK(outcome.error().kind == failure_kind::limit);
    switch (outcome.error().limit) {
    case limited::system_call: return killed;
    case limited::memory: return too_much;
    case limited::file_size: return too_long;
    default: FAIL("another failure than a limit");
    }
    return 0;
}

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

void require_root_without_sanitizer()
{
    if (sanitized)
        SKIP("a sanitizer needs what the sandbox forbids");
    if (::geteuid() != 0)
        SKIP("some of the probes succeed only as root where nothing forbids them");
}

} // namespace

TEST_CASE("each level of containment forbids what it says", "[sandbox][F82][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    program = ::getpid();
    const listener there;
    for (const auto level : {containment::hygiene, containment::limits, containment::strict, containment::isolated}) {
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 1, .init = opens_a_terminal, .sandbox = small(level)}};
        for (std::size_t i = 0; i < golden.size(); ++i) {
            if (!possible(golden[i]))
                continue;
            INFO("level " << static_cast<int>(level) << ", " << golden[i].name);
            const auto outcome = test::run(
                context, cofork::try_run(pool, try_probe, static_cast<int>(i), cofork::options{.timeout = 20s}));
            CHECK(what_came_of_it(outcome) == expected(golden[i], level));
            CHECK(test::run(context, cofork::run(pool, test::twice, 21)) == 42);
        }
    }
}

TEST_CASE("a pool tells what is on in its workers", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    const auto enforced = [](containment level) {
        asio::io_context context{1};
        policy p;
        p.level = level;
        cofork::pool pool{context, {.workers = 1, .sandbox = p}};
        CHECK(pool.enforced() == protection::none);
        CHECK(test::run(context, cofork::run(pool, test::twice, 1)) == 2);
        return pool.enforced();
    };
    CHECK(enforced(containment::hygiene) == protection::none);
    const auto limits = protection::amounts | protection::no_privileges;
    CHECK(enforced(containment::limits) == limits);
    const auto strict = limits | protection::files | protection::system_calls;
    CHECK(has(enforced(containment::strict), strict));
    CHECK(has(enforced(containment::isolated), strict | protection::namespaces | protection::user));
}

namespace {

int computes_for_ever(int)
{
    for (volatile bool go_on = true; go_on;) {
    }
    return 0;
}

int computes_for_ever_and_hides_it(int item)
{
    ::signal(SIGXCPU, SIG_IGN);
    return computes_for_ever(item);
}

int computes_a_while(int item)
{
    timespec used{};
    for (const auto begin = std::clock(); std::clock() - begin < CLOCKS_PER_SEC / 20;)
        ::clock_gettime(CLOCK_MONOTONIC, &used);
    return item;
}

} // namespace

TEST_CASE("an item may take so much processor time", "[sandbox][F83]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    policy p;
    p.level = containment::limits;
    p.cpu = 100ms;
    p.memory = 0;
    cofork::pool pool{context, {.workers = 2, .sandbox = p}};
    const auto outcome = test::run(context, cofork::try_run(pool, computes_for_ever, 1));
    REQUIRE(!outcome);
    CHECK(outcome.error().kind == failure_kind::limit);
    CHECK(outcome.error().limit == limited::cpu);
    CHECK(outcome.error().signal == SIGXCPU);
    CHECK_THAT(describe(outcome.error()), ContainsSubstring("policy::cpu"));

    // The kernel counts for the whole life of the worker: it leaves before that is anybody's fault.
    const auto many = test::run(context, cofork::try_parallel(pool, computes_a_while, test::numbers(80)));
    for (const auto& each : many)
        CHECK(each);
    CHECK(pool.stats().spawned > 2);
}

TEST_CASE("processor time is limited, whatever an item does about it", "[sandbox][F83]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    policy p;
    p.level = containment::limits;
    p.cpu = 20ms;
    p.memory = 0;
    cofork::pool pool{context, {.workers = 1, .sandbox = p}};
    const auto outcome = test::run(context, cofork::try_run(pool, computes_for_ever_and_hides_it, 1));
    REQUIRE(!outcome);
    CHECK(outcome.error().limit == limited::cpu);
    CHECK(outcome.error().signal == SIGKILL);
}

namespace {

int computes_80_ms(int)
{
    const auto so_far = [] {
        timespec used{};
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        return used.tv_sec * 1'000 + used.tv_nsec / 1'000'000;
    };
    for (const auto end = so_far() + 80; so_far() < end;) {
    }
    return ::getpid();
}

std::atomic<int>* hanging = nullptr; // pid of the worker

int tells_its_pid_and_hangs(int)
{
    *hanging = ::getpid();
    test::hang();
}

} // namespace

// What a worker has used in its life says nothing about its last item.
TEST_CASE("a worker that was killed from outside has not taken too much processor time", "[sandbox]")
{
    const test::leaves_nothing nothing;
    const test::shared<std::atomic<int>> pid;
    policy p;
    p.level = containment::limits;
    p.memory = 0;
    struct row {
        std::chrono::milliseconds cpu;
        int in_init, in_items; // of 80 ms
    };
    for (const row& r : {row{100ms, 0, 4}, row{5ms, 16, 0}}) {
        INFO("policy::cpu of " << r.cpu.count() << " ms");
        p.cpu = r.cpu;
        *(hanging = &*pid) = 0;
        asio::io_context context{1};
        const auto computes = [&] {
            for (int i = 0; i < r.in_init; ++i)
                computes_80_ms(0);
            return 0;
        };
        cofork::pool pool{context, {.workers = 1, .init = computes, .sandbox = p}};
        for (const int by : test::run(context, cofork::parallel(pool, computes_80_ms, test::numbers(r.in_items))))
            CHECK(by == pool.worker_states().at(0).pid);
        test::started<std::vector<cofork::outcome<int>>> call{
            context, cofork::try_parallel(pool, tells_its_pid_and_hangs, test::numbers(1))};
        REQUIRE(test::run_until(context, [&] { return *pid != 0; }));
        REQUIRE(::kill(*pid, SIGKILL) == 0);
        const auto lost = call.finish();
        REQUIRE(!lost[0]);
        CHECK(lost[0].error().kind == failure_kind::crashed);
        CHECK(lost[0].error().signal == SIGKILL);
        CHECK(lost[0].error().limit == limited::none);
    }
}

TEST_CASE("an item that does not fit into the memory of its worker fails alone", "[sandbox][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::limits)}};
    const auto length = [](const std::string& item) { return item.size(); };
    std::vector<std::string> items{"a", std::string(std::size_t{200} << 20, 'x'), "bc"};
    const auto outcomes = test::run(context, cofork::try_parallel(pool, length, items));
    CHECK(*outcomes[0] == 1);
    REQUIRE(!outcomes[1]);
    CHECK(outcomes[1].error().limit == limited::memory);
    CHECK(*outcomes[2] == 2);
}

namespace {

int takes_mib(int count)
{
    const std::vector<char> much(static_cast<std::size_t>(count) << 20, 'x');
    const volatile char* const last = &much.back(); // volatile: else clang leaves it out
    return *last;
}

} // namespace

// A limit that counted what the program had before would leave an item of a large program nothing.
TEST_CASE("memory is counted from what a worker has before its first item", "[sandbox][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    const std::vector<char> ballast(std::size_t{300} << 20, 'x');
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::limits)}};
    CHECK(test::run(context, cofork::run(pool, takes_mib, 64)) == ballast.back());
    const auto outcome = test::run(context, cofork::try_run(pool, takes_mib, 300));
    REQUIRE(!outcome);
    CHECK(outcome.error().limit == limited::memory);
}

// What its worker had needed to read it was kept for the next one, at the cost of what f may have.
TEST_CASE("a large item leaves the next one all of the memory", "[sandbox][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::limits)}};
    const auto size = [](const std::string& s) { return s.size(); };
    const std::string large(std::size_t{30} << 20, 'x');
    CHECK(test::run(context, cofork::run(pool, size, large)) == large.size());
    CHECK(test::run(context, cofork::run(pool, takes_mib, 110)) == 'x'); // of 128
}

TEST_CASE("files that are named can be read, and only read", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    policy p;
    p.level = containment::strict;
    p.readable = {"/etc"};
    cofork::pool pool{context, {.workers = 1, .sandbox = p}};
    const auto opened = [&](int (*f)(int)) { return test::run(context, cofork::run(pool, f, 0)); };
    CHECK(opened([](int) { return open_path("/etc/passwd", O_RDONLY); }) == 0);
    CHECK(opened([](int) { return open_path("/etc/passwd", O_RDWR); }) == EACCES);
    CHECK(opened([](int) { return open_path("/etc/cofork-probe", O_WRONLY | O_CREAT); }) == EACCES);
    CHECK(opened([](int) { return open_path("/proc/self/status", O_RDONLY); }) == EACCES);
    CHECK(opened([](int) { return open_path("/usr/bin/env", O_RDONLY); }) == EACCES);
}

TEST_CASE("system calls that are named are allowed", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    policy p;
    p.level = containment::strict;
    p.system_calls = {"clone", "clone3", "io_uring_setup"};
    cofork::pool pool{context, {.workers = 1, .sandbox = p}};
    CHECK(test::run(context, cofork::run(pool, [](int) { return starts_a_thread(); }, 0)) == 0);
    CHECK(test::run(context, cofork::run(pool, [](int) { return makes_a_ring(); }, 0)) == 0);
}

TEST_CASE("the network is out of reach even for an item that may use sockets", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    const listener there;
    const auto connecting = [](containment level) {
        asio::io_context context{1};
        policy p;
        p.level = level;
        p.system_calls = {"socket", "connect", "bind"};
        cofork::pool pool{context, {.workers = 1, .sandbox = p}};
        CHECK(test::run(context, cofork::run(pool, [](int) { return binds_an_abstract_name(); }, 0)) == 0);
        CHECK(test::run(context, cofork::run(pool, [](int) { return binds_a_port(); }, 0)) == EACCES);
        return test::run(context, cofork::run(pool, [](int) { return connects(); }, 0));
    };
    CHECK(connecting(containment::strict) == EACCES);
    CHECK(connecting(containment::isolated) != 0);
}

TEST_CASE("signals and abstract sockets of the program are out of reach even for an item that may use them", "[sandbox][F82]")
{
    require_root_without_sanitizer();
    if (!landlock_has_scopes())
        SKIP("landlock keeps no signals and sockets apart before Linux 6.12");
    const test::leaves_nothing nothing;
    program = ::getpid();
    const sockaddr_un name = abstract_name();
    const cofork::detail::owned_fd there{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    REQUIRE(::bind(there.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0);
    REQUIRE(::listen(there.get(), 100) == 0);
    for (const bool shut_in : {false, true}) {
        asio::io_context context{1};
        policy p;
        p.level = shut_in ? containment::strict : containment::limits;
        p.system_calls = {"socket", "connect", "kill", "tgkill"};
        cofork::pool pool{context, {.workers = 1, .sandbox = p}};
        const auto tried = [&](int (*f)(int)) { return test::run(context, cofork::run(pool, f, 0)); };
        const int expected = shut_in ? EPERM : done;
        CHECK(tried([](int) { return connects_to_an_abstract_name(); }) == expected);
        CHECK(tried([](int) { return signals_the_program(); }) == expected);
        CHECK(tried([](int) { return signals_a_thread_of_the_program(); }) == expected);
        CHECK(tried([](int) { return signals_itself(); }) == done);
        CHECK(has(pool.enforced(), protection::signals) == shut_in);
    }
}

TEST_CASE("a forbidden system call is named", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::strict)}};
    const auto outcome = test::run(context, cofork::try_run(pool, [](int) { return int(::syscall(SYS_sync)); }, 0));
    REQUIRE(!outcome);
    CHECK_THAT(describe(outcome.error()), ContainsSubstring("system call sync is not allowed"));
}

TEST_CASE("a crash in a sandbox is told like any other", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::isolated)}};
    const auto crash = test::run(context, cofork::try_run(pool, [](int) { std::abort(); return 0; }, 0));
    REQUIRE(!crash);
    CHECK(crash.error().kind == failure_kind::crashed);
    CHECK(crash.error().signal == SIGABRT);
    CHECK(!crash.error().backtrace.empty());
    const auto late = test::run(context, cofork::try_run(pool, computes_for_ever, 0, cofork::options{.timeout = 100ms}));
    REQUIRE(!late);
    CHECK(late.error().kind == failure_kind::timeout);
    CHECK(!late.error().backtrace.empty());
}

TEST_CASE("a call without a pool has a sandbox of its own", "[sandbox]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    const policy p = small(containment::strict);
    asio::io_context context{1};
    const auto reads = [](int) { return reads_a_file(); };
    CHECK(test::run(context, cofork::run(reads, 0, cofork::options{.sandbox = &p})) == EACCES);
    CHECK(test::run(context, cofork::run(reads, 0)) == 0);
}

namespace {

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

TEST_CASE("policies that make no sense are refused", "[sandbox]")
{
    policy p;
    p.level = containment::strict;
    p.system_calls = {"no_such_call"};
    CHECK_THROWS_WITH(cofork::detail::make_rules(p), ContainsSubstring("no_such_call"));
    p.system_calls.clear();
    p.cpu = -1s;
    CHECK_THROWS_WITH(cofork::detail::make_rules(p), ContainsSubstring("policy::cpu"));
}

TEST_CASE("any set of system calls makes a filter", "[sandbox]")
{
    std::minstd_rand random{4711};
    for (int round = 0; round < 50; ++round) {
        policy p;
        p.level = containment::strict;
        for (int i = 0; i < 20; ++i) {
            std::string name = cofork::detail::system_call_name(static_cast<int>(random() % 450));
            if (!std::isdigit(static_cast<unsigned char>(name[0])))
                p.system_calls.push_back(std::move(name));
        }
        if (round % 2)
            p.readable = {"/"};
        CHECK(!cofork::detail::make_rules(p)->filter.empty());
    }
}

TEST_CASE("workers see zeros where the program keeps a secret", "[sandbox][F84]")
{
    const test::leaves_nothing nothing;
    cofork::secret_region secret{5000};
    std::ranges::fill(secret.bytes(), std::byte{42});
    asio::io_context context{1};
    const auto seen = [&](int) {
        return std::ranges::count(secret.bytes(), std::byte{42}) + 10'000 * std::ranges::count(secret.bytes(), std::byte{0});
    };
    CHECK(test::run(context, cofork::run(seen, 0)) == 10'000 * 5000);
    CHECK(std::ranges::count(secret.bytes(), std::byte{42}) == 5000);
}
