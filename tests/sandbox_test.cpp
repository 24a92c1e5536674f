// What a worker can do at each level of containment. Every probe has to succeed where nothing forbids it: else it would
// show nothing where something does.

#include "support/faults.hpp"
#include "support/probes.hpp"
#include "support/sandbox.hpp"

#include "owned_fd.hpp"

#include <cofork/policy.hpp>
#include <cofork/run.hpp>

#include <array>
#include <cstdlib>

namespace {

using namespace std::chrono_literals;
using namespace test::probes;
using Catch::Matchers::ContainsSubstring;
using cofork::containment;
using cofork::failure_kind;
using cofork::limited;
using cofork::policy;
using cofork::protection;
using test::computes_for_ever;
using test::landlock_has_scopes;
using test::require_root_without_sanitizer;
using test::small;

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
