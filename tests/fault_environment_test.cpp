// Where the program runs: beside other threads, with its own ideas about children, with little of everything, very large.

#include "support/faults.hpp"

#include <cofork/run.hpp>

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <syslog.h>
#include <time.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <thread>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

/// For a helper process, in which Catch2 is of no use: its status says whether all held.
void expect(bool holds, const char* what)
{
    if (holds)
        return;
    std::cerr << "in the helper process: " << what << '\n';
    ::_exit(1);
}

bool ended_well(int status)
{
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// What takes locks of the C library, over and over.
void hammer_locks(const std::atomic<bool>& stop)
{
    ::openlog("cofork-test", LOG_NDELAY, LOG_USER);
    while (!stop) {
        const std::time_t now = std::time(nullptr);
        std::tm parts{};
        ::localtime_r(&now, &parts);
        (void)std::localtime(&now); // NOLINT(concurrency-mt-unsafe): its lock is the point
        ::tzset();
        auto* const memory = static_cast<char*>(std::malloc(1000));
        if (memory != nullptr)
            memory[0] = '\0';
        std::free(memory);
        ::setlogmask(LOG_UPTO(LOG_EMERG));
        ::syslog(LOG_DEBUG, "unheard");
    }
}

int take_the_same_locks(int item)
{
    const std::time_t now = std::time(nullptr);
    (void)std::localtime(&now); // NOLINT(concurrency-mt-unsafe)
    ::setenv("COFORK_TEST", "1", 1);
    ::syslog(LOG_DEBUG, "unheard");
    return static_cast<int>(std::vector<int>(1000, item).back());
}

} // namespace

TEST_CASE("workers of a pool that was made early start beside threads that hammer locks", "[fault][F44]")
{
    const test::leaves_nothing nothing;
    const int spawns = test::forks_are_slow ? 40 : 400; // thousands in the soak run
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .fresh = true}};
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] { hammer_locks(stop); });
    const auto outcomes = test::run(
        context, cofork::try_parallel(pool, take_the_same_locks, test::numbers(spawns), {.timeout = 10s}));
    stop = true;
    for (auto& thread : threads)
        thread.join();
    int stuck = 0;
    for (const auto& outcome : outcomes)
        stuck += outcome ? 0 : 1;
    CHECK(stuck == 0);
    CHECK(pool.stats().spawned >= static_cast<unsigned>(spawns));
}

namespace {

int crash_at_three(int item)
{
    if (item == 3)
        ::raise(SIGTERM);
    return 2 * item;
}

void reap_all(int)
{
    const int error = errno;
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    errno = error;
}

struct custom {
    const char* name;
    void (*set)();
};

constexpr custom customs[] = {
    {"ignores SIGCHLD", [] { ::signal(SIGCHLD, SIG_IGN); }},
    {"reaps every child in a handler", [] { ::signal(SIGCHLD, reap_all); }},
    {"asks for no zombies",
        [] {
            struct sigaction action {};
            action.sa_handler = SIG_DFL;
            action.sa_flags = SA_NOCLDWAIT;
            ::sigaction(SIGCHLD, &action, nullptr);
        }},
};

} // namespace

TEST_CASE("how the program treats its own children makes no difference", "[fault][F92]")
{
    const test::leaves_nothing nothing;
    const custom& how = customs[GENERATE(0, 1, 2)];
    CAPTURE(how.name);
    test::helper_process program{[&] {
        how.set();
        asio::io_context context{1};
        std::optional<cofork::pool> pool{std::in_place, context, cofork::pool_options{.workers = 2}};
        for (int round = 0; round < 5; ++round) {
            for (const bool pooled : {true, false}) {
                const auto items = test::numbers(6);
                const auto outcomes = pooled
                    ? test::run(context, cofork::try_parallel(*pool, crash_at_three, items))
                    : test::run(context, cofork::try_parallel(crash_at_three, items));
                for (const int i : items) {
                    const auto& outcome = outcomes[static_cast<std::size_t>(i)];
                    expect(bool{outcome} == (i != 3), "another item failed");
                    expect(i != 3 || outcome.error().signal == SIGTERM, "the signal was not told");
                }
            }
        }
        pool.reset();
        expect(test::eventually([] { return test::children().empty(); }), "a child was left");
        ::_exit(0);
    }};
    CHECK(ended_well(program.status()));
}

TEST_CASE("children of the program's own are left to it", "[fault][F92]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(41);
    for (int round = 0; round < 3; ++round) {
        test::still_works(context, pool);
        test::snapshot_works(context);
    }
    pool.close();
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 41));
}

namespace {

std::vector<char> same(std::vector<char> item) // NOLINT(performance-unnecessary-value-param)
{
    return item;
}

} // namespace

TEST_CASE("pipes that cannot be enlarged, and are small, carry large items and results", "[fault][F49]")
{
    if (::geteuid() != 0)
        SKIP("only root can become another user, whose pipes are counted");
    const test::leaves_nothing nothing;
    test::helper_process program{[] {
        const auto nobody = static_cast<uid_t>(2'000'000 + ::getpid()); // whom no other test counts
        expect(::setgid(nobody) == 0 && ::setuid(nobody) == 0, "cannot become another user");
        ::prctl(PR_SET_DUMPABLE, 1); // else our own /proc is root's
        std::array<int, 2> pipe{};
        // pipe(7): beyond pipe-user-pages-soft, 16384 pages, a new pipe has two pages, or one, and cannot grow.
        for (int i = 0; i < 80; ++i) {
            expect(::pipe(pipe.data()) == 0, "not so many pipes");
            ::fcntl(pipe[0], F_SETPIPE_SZ, 1 << 20); // 256 pages
        }
        expect(::pipe(pipe.data()) == 0, "not one more pipe");
        expect(::fcntl(pipe[0], F_GETPIPE_SZ) <= 8192, "a new pipe is large");
        expect(::fcntl(pipe[0], F_SETPIPE_SZ, 1 << 20) < 0, "a pipe can be enlarged");
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 2}};
        std::vector<std::vector<char>> items;
        for (std::size_t i = 0; i < 8; ++i)
            items.emplace_back((i + 1) * 300'000, static_cast<char>('a' + i));
        expect(test::run(context, cofork::parallel(pool, same, items)) == items, "other bytes from a pool");
        expect(test::run(context, cofork::parallel(same, items)) == items, "other bytes from a snapshot");
        ::_exit(0);
    }};
    CHECK(ended_well(program.status()));
}

TEST_CASE("workers write no core dumps", "[fault][F20]")
{
    const test::leaves_nothing nothing;
    test::helper_process program{[] {
        rlimit core{};
        ::getrlimit(RLIMIT_CORE, &core);
        core.rlim_cur = core.rlim_max;
        expect(::setrlimit(RLIMIT_CORE, &core) == 0, "the limit cannot be raised");
        asio::io_context context{1};
        const auto limit = test::run(context, cofork::run([](int) {
            rlimit mine{};
            ::getrlimit(RLIMIT_CORE, &mine);
            return mine.rlim_cur;
        }, 0));
        expect(limit == 0, "a worker may write a core dump");
        rlimit after{};
        ::getrlimit(RLIMIT_CORE, &after);
        expect(after.rlim_cur == core.rlim_cur, "the program's own limit was changed");
        ::_exit(0);
    }};
    CHECK(ended_well(program.status()));
}

namespace {

/// A cgroup with so much memory, of version 1 or 2; empty when the machine gives none.
class little_memory {
public:
    explicit little_memory(std::size_t bytes)
    {
        namespace fs = std::filesystem;
        for (const auto& [root, limit] : {std::pair{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                 std::pair{"/sys/fs/cgroup", "memory.max"}}) {
            const fs::path group = fs::path{root} / ("cofork-test-" + std::to_string(::getpid()));
            std::error_code ec;
            if (!fs::create_directory(group, ec) || ec)
                continue;
            if (fs::exists(group / limit, ec) && (std::ofstream{group / limit} << bytes).flush()) {
                group_ = group;
                return;
            }
            ::rmdir(group.c_str());
        }
    }
    ~little_memory()
    {
        if (!group_.empty())
            CHECK(test::eventually([&] { return ::rmdir(group_.c_str()) == 0; }));
    }
    little_memory(const little_memory&) = delete;
    little_memory& operator=(const little_memory&) = delete;

    explicit operator bool() const { return !group_.empty(); }
    std::string procs() const { return group_ / "cgroup.procs"; }

private:
    std::filesystem::path group_;
};

} // namespace

TEST_CASE("a worker that the kernel kills for lack of memory costs its item", "[fault][F21]")
{
    const test::leaves_nothing nothing;
    const little_memory group{std::size_t{64} << 20};
    if (!group)
        SKIP("no memory cgroup can be made here");
    asio::io_context context{1};
    const auto eat = [procs = group.procs()](int item) {
        if (item != 1)
            return item;
        if (!(std::ofstream{procs} << ::getpid()).flush())
            return -1;
        for (std::size_t i = 0; i < 256; ++i) {
            // volatile: clang leaves out an allocation that nobody reads
            auto* const memory = static_cast<volatile char*>(std::malloc(std::size_t{1} << 20));
            for (std::size_t at = 0; memory != nullptr && at < std::size_t{1} << 20; at += 4096)
                memory[at] = 1;
        }
        return -2;
    };
    const auto outcomes = test::run(context, cofork::try_parallel(eat, test::numbers(3), {.timeout = 20s}));
    CHECK(outcomes[0]);
    REQUIRE(!outcomes[1]);
    CHECK(outcomes[1].error().kind == failure_kind::crashed);
    CHECK(outcomes[1].error().signal == SIGKILL);
    CHECK(outcomes[2]);
}

TEST_CASE("workers are the kernel's first choice when memory runs out", "[fault][F21]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const auto score = [](int) { return std::stoi(test::text_of("/proc/self/oom_score_adj")); };
    CHECK(test::run(context, cofork::run(score, 0)) >= std::min(score(0) + 500, 1000));
}

TEST_CASE("a program of a gibibyte works as a small one does", "[fault][F96]")
{
    if (test::forks_are_slow)
        SKIP("AddressSanitizer's memory is larger anyway");
    const test::leaves_nothing nothing;
    constexpr std::size_t size = std::size_t{1} << 30;
    void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    ::madvise(memory, size, MADV_NOHUGEPAGE);
    std::memset(memory, 1, size);
    asio::io_context context{1};
    {
        cofork::pool pool{context, {.workers = 4}};
        test::still_works(context, pool);
        test::snapshot_works(context);
        const auto outcomes = test::run(context, cofork::try_parallel(pool, crash_at_three, test::numbers(6)));
        CHECK(outcomes[3].error().signal == SIGTERM);
        CHECK(outcomes[5]);
        // All of it is written to by a worker while the program does so, too.
        const auto sum = test::run(context, cofork::run([memory](int) {
            std::memset(memory, 2, size);
            return static_cast<int>(static_cast<char*>(memory)[size - 1]);
        }, 0));
        CHECK(sum == 2);
        CHECK(static_cast<char*>(memory)[size - 1] == 1);
    }
    ::munmap(memory, size);
}
