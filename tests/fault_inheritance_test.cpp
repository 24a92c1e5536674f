// What workers inherit from the program, and what of them outlives their items.

#include "support/faults.hpp"

#include <cofork/run.hpp>
#include <cofork/transport.hpp>

#include <fcntl.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

struct board {
    std::array<std::atomic<pid_t>, 64> pids;
    std::atomic<int> count;
};
board* now = nullptr;
using shared_board = test::shared_at<now>;

enum class leaves { behind_in_group, behind_in_session, behind_in_session_of_its_own_child };

/// Forks a process that outlives the item and holds everything it inherited.
int parent_of_many(leaves how)
{
    const pid_t child = ::fork();
    if (child == 0) {
        if (how != leaves::behind_in_group)
            ::setsid();
        if (how == leaves::behind_in_session_of_its_own_child && ::fork() != 0)
            ::_exit(0);
        now->pids[static_cast<std::size_t>(now->count.load())] = ::getpid();
        ++now->count; // now it can be read
        test::hang();
    }
    while (now->count == 0)
        ::usleep(100);
    return 7;
}

} // namespace

TEST_CASE("a worker has no ring, and no descriptor of the program but its own two pipes", "[fault][F78]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const int open_here = ::open("/dev/null", O_RDONLY); // not close-on-exec: fork asks nobody
    cofork::pool early{context, {.workers = 1}};
    test::still_works(context, early); // the ring is there from now on
    cofork::pool late{context, {.workers = 1}};
    struct view {
        int rings = 0;
        int descriptors = 0; // above stdio
    };
    const auto f = [](int) {
        view v;
        std::ifstream maps{"/proc/self/maps"};
        for (std::string line; std::getline(maps, line);)
            v.rings += line.find("io_uring") != std::string::npos ? 1 : 0;
        maps.close();
        for (int fd = 3; fd < 4096; ++fd)
            v.descriptors += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
        return v;
    };
    for (const view v : {test::run(context, cofork::run(early, f, 0)), test::run(context, cofork::run(late, f, 0)),
             test::run(context, cofork::run(f, 0))}) {
        CHECK(v.rings == 0);
        CHECK(v.descriptors == 2);
    }
    // The same question here, or the answer above means nothing.
    if (cofork::transport(context) == cofork::transport_kind::ring)
        CHECK(f(0).rings > 0);
    ::close(open_here);
}

TEST_CASE("processes that f leaves behind hold nothing up, and end with the workers", "[fault][F85]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const shared_board shared;
    asio::io_context context{1};
    const leaves how = GENERATE(leaves::behind_in_group, leaves::behind_in_session, leaves::behind_in_session_of_its_own_child);
    const bool in_pool = GENERATE(true, false);
    CAPTURE(static_cast<int>(how), in_pool);
    if (in_pool) {
        cofork::pool pool{context, {.workers = 2}};
        CHECK(test::run(context, cofork::run(pool, parent_of_many, how)) == 7);
        CHECK_FALSE(test::is_gone(now->pids[0]));
        for (const pid_t pid : test::workers()) // what a worker leaves behind does not hide its end
            ::kill(pid, SIGKILL);
        test::still_works(context, pool);
    }
    else
        CHECK(test::run(context, cofork::run(parent_of_many, how)) == 7);
    CHECK(now->count == 1);
    CHECK(test::eventually([] { return test::is_gone(now->pids[0]); }));
    test::snapshot_works(context);
}

TEST_CASE("a timeout also ends what the item started", "[fault][F34][F85]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto f = [](int) {
        (void)parent_of_many(leaves::behind_in_group);
        test::hang();
    };
    const auto outcome = test::run(context, cofork::try_run(pool, f, 1, cofork::options{.timeout = 100ms}));
    REQUIRE_FALSE(outcome.has_value());
    CHECK(outcome.error().kind == failure_kind::timeout);
    CHECK(test::eventually([] { return test::is_gone(now->pids[0]); }));
    test::still_works(context, pool);
}

TEST_CASE("what f prints comes out once, and what the program had printed is not repeated", "[fault][F87]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    char name[] = "/tmp/cofork-test-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    test::helper_process program{[&] {
        ::dup2(file, STDOUT_FILENO);
        std::ios::sync_with_stdio(false);
        std::printf("program;"); // to a file: stays in the buffer
        std::cout << "stream;";
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 1}};
        const auto f = [](int item) {
            std::printf("item %d;", item);
            if (item == 2)
                ::raise(SIGKILL); // its own text is lost with it, the earlier ones' are not
            return 2 * item;
        };
        (void)test::run(context, cofork::try_parallel(pool, f, test::numbers(5), {.chunk = 5}));
        (void)test::run(context, cofork::try_run([] { std::printf("snapshot;"); }));
        std::fflush(stdout);
    }};
    CHECK(program.status() == 0);
    const std::string text = test::text_of(name);
    ::unlink(name);
    ::close(file);
    const auto times = [&](const std::string& part) {
        int n = 0;
        for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
            ++n;
        return n;
    };
    CAPTURE(text);
    CHECK(times("program;") == 1);
    CHECK(times("stream;") == 1);
    for (const int item : {0, 1, 3, 4})
        CHECK(times("item " + std::to_string(item) + ";") == 1);
    CHECK(times("item 2;") == 0);
    CHECK(times("snapshot;") == 1);
}
