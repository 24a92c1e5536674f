#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"

#include "threads.hpp"

#include <liburing.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace fs = std::filesystem;
using cofork::detail::count_other_threads;
using cofork::detail::other_threads;
using cofork::detail::threads_that;

namespace {

/// Threads that wait until they are told to end.
class waiting_threads {
public:
    explicit waiting_threads(int count) : met_{count + 1}
    {
        for (int i = 0; i < count; ++i)
            threads_.emplace_back([this] {
                met_.arrive_and_wait();
                met_.arrive_and_wait();
            });
        met_.arrive_and_wait();
    }

    ~waiting_threads()
    {
        met_.arrive_and_wait();
        for (std::thread& thread : threads_)
            thread.join();
    }

private:
    std::barrier<> met_;
    std::vector<std::thread> threads_;
};

/// A directory that looks like /proc/self/task: ours, and threads with the given lines.
class fake_tasks {
public:
    explicit fake_tasks(const std::vector<std::string>& stats)
    {
        std::string name = fs::temp_directory_path() / "cofork_tasks_XXXXXX";
        REQUIRE(::mkdtemp(name.data()));
        root_ = name;
        add(::gettid(), "self (self) R 1 1 1 0 -1 4194304 99");
        int tid = 1000000000; // beyond any pid_max
        for (const std::string& stat : stats)
            add(tid++, stat);
    }

    fake_tasks(const fake_tasks&) = delete;
    fake_tasks& operator=(const fake_tasks&) = delete;
    ~fake_tasks() { fs::remove_all(root_); }

    [[nodiscard]] const char* path() const { return root_.c_str(); }

private:
    void add(int tid, const std::string& stat) const
    {
        const fs::path task = root_ / std::to_string(tid);
        fs::create_directory(task);
        if (!stat.empty())
            std::ofstream{task / "stat"} << stat;
    }

    fs::path root_;
};

/// Makes the kernel start an io_uring worker: a read of an empty pipe that is told not to be polled for.
class ring_with_worker {
public:
    ring_with_worker()
    {
        usable_ = ::io_uring_queue_init(4, &ring_, 0) == 0;
        if (!usable_)
            return;
        REQUIRE(::pipe(pipe_) == 0);
        io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
        ::io_uring_prep_read(sqe, pipe_[0], &byte_, 1, 0);
        sqe->flags |= IOSQE_ASYNC;
        REQUIRE(::io_uring_submit(&ring_) == 1);
    }

    ~ring_with_worker()
    {
        if (!usable_)
            return;
        ::close(pipe_[1]); // ends the read
        io_uring_cqe* cqe = nullptr;
        ::io_uring_wait_cqe(&ring_, &cqe);
        ::io_uring_queue_exit(&ring_);
        ::close(pipe_[0]);
    }

    [[nodiscard]] bool usable() const { return usable_; }

private:
    io_uring ring_{};
    bool usable_ = false;
    int pipe_[2] = {-1, -1};
    char byte_ = 0;
};

} // namespace

TEST_CASE("a program without threads has no other threads", "[threads]")
{
    CHECK(other_threads() == 0u);
}

TEST_CASE("every other thread is counted while it runs, and none after it was joined", "[threads]")
{
    test::leaves_nothing guard;
    {
        const waiting_threads three{3};
        CHECK(other_threads() == 3u);
    }
    // At once: a thread that was joined may still be listed, but it holds nothing.
    CHECK(other_threads() == 0u);
}

TEST_CASE("a thread that was joined is never counted", "[threads]")
{
    test::leaves_nothing guard;
    for (int round = 0; round < 300; ++round) {
        std::thread{[] {}}.join();
        REQUIRE(other_threads() == 0u);
    }
}

TEST_CASE("a thread counts the main thread, and not itself", "[threads]")
{
    test::leaves_nothing guard;
    std::optional<unsigned> seen;
    std::thread{[&] { seen = other_threads(); }}.join();
    CHECK(seen == 1u);
}

TEST_CASE("the threads of io_uring are the kernel's and are not counted", "[threads]")
{
    test::leaves_nothing guard;
    const std::ptrdiff_t before = test::threads();
    const ring_with_worker ring;
    if (!ring.usable())
        SKIP("io_uring is not available here");
    REQUIRE(test::eventually([&] { return test::threads() > before; }));
    CHECK(other_threads() == 0u);
    const waiting_threads one{1};
    CHECK(other_threads() == 1u);
}

TEST_CASE("threads are counted that can hold a lock, or that can act", "[threads]")
{
    struct row {
        const char* stat;
        unsigned hold_a_lock;
        unsigned act = hold_a_lock;
    };
    const row rows[] = {
        {"7 (app) S 1 1 1 0 -1 4194304 99", 1},
        {"7 (app) S 1 1 1 0 -1 4194304", 1},
        {"7 (iou-wrk-4711) S 1 1 1 0 -1 4194304 0", 0, 1}, // a name that any thread may give itself
        {"7 (iou-wrk-4711) S 1 1 1 0 -1 4194320 0", 0},   // PF_IO_WORKER
        {"7 (iou-sqp-4711) S 1 1 1 0 -1 4194320 0", 0, 1},
        {"7 (app) S 1 1 1 0 -1 4194320 0", 0, 1},         // not yet named
        {"7 (xiou-wrk) S 1 1 1 0 -1 4194304 0", 1},
        {"7 (app) R 1 1 1 0 -1 4194308 99", 0},           // PF_EXITING
        {"7 (a ) (b 4) S 1 1 1 0 -1 4194304 99", 1},      // a name may hold anything
        {"7 (a) 1 1 1 1 1 4 4) S 1 1 1 0 -1 4194304 9", 1},
        {"7 (app) S", 1},                                 // cut short: rather one too many
        {"", 0},                                          // gone since it was listed
    };
    for (const row& r : rows) {
        INFO(r.stat);
        // Beside a thread that counts: a directory of one link more than ours alone is not read at all.
        const fake_tasks tasks{{"8 (app) S 1 1 1 0 -1 4194304 99", r.stat}};
        CHECK(count_other_threads(tasks.path(), threads_that::can_hold_a_lock) == 1 + r.hold_a_lock);
        CHECK(count_other_threads(tasks.path(), threads_that::can_act) == 1 + r.act);
    }
}

TEST_CASE("a lone thread is alone", "[threads]")
{
    CHECK(count_other_threads(fake_tasks{{}}.path()) == 0u);
}

TEST_CASE("where /proc is missing, the number of threads is not known", "[threads]")
{
    CHECK(count_other_threads("/nonexistent/task") == std::nullopt);
}

TEST_CASE("a forked child has no other threads", "[threads]")
{
    test::leaves_nothing guard;
    const waiting_threads two{2};
    const pid_t child = ::fork();
    if (child == 0)
        ::_exit(other_threads() == 0u ? 0 : 1);
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}
