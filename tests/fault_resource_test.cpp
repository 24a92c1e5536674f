// Too few processes, too few descriptors, too little memory, no io_uring, no stdout.

#include "support/asio_backend.hpp"
#include "support/faults.hpp"
#include "support/seccomp.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>
#include <cofork/transport.hpp>

#include <asio/steady_timer.hpp>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <optional>
#include <set>

namespace {

struct board {
    std::atomic<int> failures;
};
board* now = nullptr;
using shared_board = test::shared_at<now>;

/// For a helper process, in which Catch2 is of no use: says what is wrong, and the helper's status counts it.
void expect(bool holds, const char* what)
{
    if (holds)
        return;
    std::cerr << "in the helper process: " << what << '\n';
    ++now->failures;
}

class soft_limit {
public:
    soft_limit(__rlimit_resource_t what, rlim_t value) : what_{what}
    {
        REQUIRE(::getrlimit(what_, &before_) == 0);
        rlimit lower = before_;
        lower.rlim_cur = value;
        REQUIRE(::setrlimit(what_, &lower) == 0);
    }
    ~soft_limit() { ::setrlimit(what_, &before_); }
    soft_limit(const soft_limit&) = delete;
    soft_limit& operator=(const soft_limit&) = delete;

private:
    __rlimit_resource_t what_;
    rlimit before_{};
};

rlim_t address_space()
{
    rlim_t pages = 0;
    std::ifstream{"/proc/self/statm"} >> pages;
    return pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE));
}

/// A user that nobody is, who may have `most` processes, this one included.
void become_nobody(rlim_t most)
{
    const rlimit limit{most, most};
    const auto nobody = static_cast<uid_t>(1'000'000 + ::getpid()); // whom no other test counts
    expect(::setgid(nobody) == 0 && ::setuid(nobody) == 0, "cannot become another user");
    ::prctl(PR_SET_DUMPABLE, 1); // else our own /proc is root's
    expect(::setrlimit(RLIMIT_NPROC, &limit) == 0, "cannot set RLIMIT_NPROC");
}

bool works(asio::io_context& context, cofork::pool& pool, const std::vector<int>& items)
{
    const auto all = test::run(context, cofork::parallel(pool, test::twice, items, {.chunk = 1}));
    return all.size() == items.size() && all.back() == 2 * items.back();
}

int twice_or_die(int item)
{
    if (item % 10 == 7)
        ::raise(SIGKILL);
    return 2 * item;
}

void work_with(rlim_t most)
{
    asio::io_context context{1};
    const std::vector<int> items = test::numbers(50);
    std::optional<cofork::pool> pool;
    try {
        pool.emplace(context, cofork::pool_options{.workers = 8});
    }
    catch (const std::system_error& e) {
        expect(most == 1 && e.code() == cofork::errc::spawn_failed, "the pool could not be made");
        return;
    }
    expect(most > 1, "a pool without a nursery");
    try {
        expect(works(context, *pool, items), "wrong values");
        expect(most > 2, "values without a worker");
    }
    catch (const std::system_error& e) {
        expect(most == 2 && e.code() == cofork::errc::spawn_failed, "the call could not be made");
        return;
    }
    // Workers that die are replaced, though their numbers are free only when they are reaped.
    const auto all = test::run(context, cofork::try_parallel(*pool, twice_or_die, items, {.chunk = 1}));
    for (std::size_t i = 0; i < all.size(); ++i)
        expect(all[i].has_value() == (i % 10 != 7), "the wrong items failed");
    expect(works(context, *pool, items), "wrong values afterwards");
}

} // namespace

TEST_CASE("a call runs with as few processes as it can get, and says when it gets none", "[fault][F45]")
{
    if (::geteuid() != 0)
        SKIP("only root can become another user, and the limit counts the processes of a user");
    const test::leaves_nothing nothing;
    const shared_board shared;
    const rlim_t most = GENERATE(1u, 2u, 3u, 4u, 6u); // this process, the nursery, the workers
    CAPTURE(most);
    test::helper_process program{[&] {
        become_nobody(most);
        const auto descriptors = test::open_descriptors();
        work_with(most);
        expect(test::open_descriptors() == descriptors, "a worker that could not be had has left a descriptor");
    }};
    CHECK(program.status() == 0);
    CHECK(now->failures == 0);
}

TEST_CASE("without descriptors a call goes on with fewer workers or fails, and leaves none open", "[fault][F46][F52]")
{
    const test::leaves_nothing nothing;
    const bool in_pool = GENERATE(true, false);
    int failed = 0;
    int succeeded = 0;
    for (rlim_t spare = 0; spare < 40; ++spare) {
        CAPTURE(in_pool, spare);
        const test::leaves_nothing here;
        asio::io_context context{1};
        (void)cofork::transport(context); // with what it opens by itself, as Asio's own timers do
        const asio::steady_timer timer{context};
        std::optional<cofork::pool> pool;
        const std::vector<int> items = test::numbers(100);
        const auto highest = static_cast<rlim_t>(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        ::close(static_cast<int>(highest));
        try {
            const soft_limit few{RLIMIT_NOFILE, highest + spare};
            if (in_pool) {
                pool.emplace(context, cofork::pool_options{.workers = 6});
                test::require_twice(test::run(context, cofork::parallel(*pool, test::twice, items, {.chunk = 1})), items.size());
            }
            else
                test::require_twice(
                    test::run(context, cofork::parallel(test::twice, items, {.workers = 6, .chunk = 1})), items.size());
            ++succeeded;
        }
        catch (const std::system_error& e) {
            ++failed;
            CHECK(e.code() == cofork::errc::spawn_failed);
        }
        if (pool)
            test::still_works(context, *pool);
        test::snapshot_works(context);
    }
    CHECK(failed > 0);
    CHECK(succeeded > 0);
}

TEST_CASE("a result for which the program has no memory is lost alone", "[fault]")
{
    if (test::forks_are_slow)
        SKIP("AddressSanitizer's allocator ends a program that has no memory");
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    test::still_works(context, pool);
    const auto of_size = [](int size) { return std::string(static_cast<std::size_t>(size), 'x'); };
    const std::vector<int> sizes{10, 48 << 20, 20, 30};
    std::vector<cofork::outcome<std::string>> results;
    {
        const soft_limit little{RLIMIT_AS, address_space() + (16 << 20)};
        results = test::run(context, cofork::try_parallel(pool, of_size, sizes));
    }
    REQUIRE(results.size() == sizes.size());
    for (const std::size_t i : {0u, 2u, 3u})
        CHECK(results[i].value().size() == static_cast<std::size_t>(sizes[i]));
    REQUIRE_FALSE(results[1]);
    CHECK(results[1].error().kind == cofork::failure_kind::protocol);
    CHECK(results[1].error().what.find("no memory for its reply") != std::string::npos);
    test::still_works(context, pool);
}

TEST_CASE("where io_uring is refused the same calls run on the reactor", "[fault][F47]")
{
    if (test::asio_waits_by_ring)
        SKIP("Asio itself needs io_uring here");
    const test::leaves_nothing nothing;
    const shared_board shared;
    const int error = GENERATE(EPERM, ENOSYS, EMFILE, ENOMEM);
    CAPTURE(error);
    test::helper_process program{[&] {
        expect(test::forbid(test::io_uring_calls, error), "no seccomp filter");
        asio::io_context context{1};
        expect(cofork::transport(context) == cofork::transport_kind::reactor, "not on the reactor");
        cofork::pool pool{context, {.workers = 2}};
        const std::vector<int> items = test::numbers(100);
        expect(works(context, pool, items), "wrong values");
        const auto all = test::run(context, cofork::try_parallel(twice_or_die, items, {.workers = 2}));
        for (std::size_t i = 0; i < all.size(); ++i)
            expect(all[i].has_value() == (i % 10 != 7), "the wrong items failed");
    }};
    CHECK(program.status() == 0);
    CHECK(now->failures == 0);
}

TEST_CASE("three thousand workers come and go without a trace", "[fault][F55]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .fresh = true}};
    const auto f = [](int) { return ::getpid(); };
    std::ptrdiff_t most_descriptors = 0;
    std::size_t most_children = 0;
    std::set<pid_t> pids;
    const int rounds = test::forks_are_slow ? 5 : 30;
    for (int round = 0; round < rounds; ++round) {
        const auto all = test::run(context, cofork::parallel(pool, f, test::numbers(100)));
        pids.insert(all.begin(), all.end());
        const auto descriptors = test::open_descriptors();
        const auto nursery = test::nurseries();
        const auto children = nursery.empty() ? 0 : test::children_of(nursery[0]).size();
        if (round == 2) {
            most_descriptors = descriptors;
            most_children = children;
        }
        else if (round > 2) {
            CHECK(descriptors <= most_descriptors + 6); // those of the two workers, which may be ending
            CHECK(children <= most_children + 4);
        }
    }
    CHECK(pids.size() == 100 * static_cast<std::size_t>(rounds)); // the kernel hands a number out again only after many others
    CHECK(pool.stats().spawned == 100 * static_cast<std::size_t>(rounds));
}

TEST_CASE("a closed, broken or full stdout does not disturb the items", "[fault][F87]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    enum class output { closed, broken_pipe, full_disk, no_file_size };
    const output how = GENERATE(output::closed, output::broken_pipe, output::full_disk, output::no_file_size);
    CAPTURE(static_cast<int>(how));
    test::helper_process program{[&] {
        int ends[2];
        expect(::pipe(ends) == 0, "no pipe");
        ::close(ends[0]);
        ::close(STDOUT_FILENO);
        if (how == output::broken_pipe)
            expect(::dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO, "no stdout");
        else if (how == output::full_disk)
            expect(::open("/dev/full", O_WRONLY) == STDOUT_FILENO, "no /dev/full");
        else if (how == output::no_file_size) {
            const rlimit none{0, 0};
            expect(::memfd_create("stdout", 0) == STDOUT_FILENO, "no file");
            expect(::setrlimit(RLIMIT_FSIZE, &none) == 0, "no limit");
        }
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 2}};
        const auto f = [](int item) {
            std::printf("text\n");
            return 2 * item;
        };
        const auto all = test::run(context, cofork::try_parallel(pool, f, test::numbers(20), {.chunk = 4}));
        for (const auto& outcome : all) {
            if (how == output::broken_pipe) // SIGPIPE is the item's own doing
                expect(!outcome && outcome.error().signal == SIGPIPE, "not a broken pipe");
            else if (how == output::no_file_size)
                expect(!outcome && outcome.error().signal == SIGXFSZ, "not a file that is too large");
            else
                expect(outcome.has_value(), "an item failed");
        }
        expect(works(context, pool, test::numbers(20)), "the pool does not work");
    }};
    CHECK(program.status() == 0);
    CHECK(now->failures == 0);
}
