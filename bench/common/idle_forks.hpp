#pragma once
// Bare forks, each with two pipes, that wait for a job: what workers cannot be cheaper than.

#include "bench.h"

#include <csignal>
#include <fcntl.h>
#include <sys/wait.h>
#include <vector>

namespace bench {

class idle_forks {
public:
    /// Each child has answered once when it returns.
    explicit idle_forks(unsigned count)
    {
        for (unsigned i = 0; i < count; ++i)
            start();
        for (const int fd : answers_) {
            char byte = 0;
            bench_read_all(fd, &byte, 1);
        }
    }

    ~idle_forks()
    {
        for (const pid_t pid : pids_) {
            ::kill(pid, SIGKILL);
            ::waitpid(pid, nullptr, 0);
        }
        for (const int fd : jobs_)
            ::close(fd);
        for (const int fd : answers_)
            ::close(fd);
    }

    idle_forks(const idle_forks&) = delete;
    idle_forks& operator=(const idle_forks&) = delete;

    const std::vector<pid_t>& pids() const { return pids_; }

private:
    void start()
    {
        int job[2], answer[2];
        if (::pipe2(job, O_CLOEXEC) != 0 || ::pipe2(answer, O_CLOEXEC) != 0)
            bench_fail("pipe2");
        const pid_t pid = ::fork();
        if (pid < 0)
            bench_fail("fork");
        if (pid == 0) {
            // Its own two descriptors and nothing else, as every correct worker has to.
            ::dup2(job[0], 3);
            ::dup2(answer[1], 4);
            ::close_range(5, ~0u, 0);
            char byte = 0;
            do
                bench_write_all(4, &byte, 1);
            while (bench_read_all(3, &byte, 1));
            ::_exit(0);
        }
        ::close(job[0]);
        ::close(answer[1]);
        jobs_.push_back(job[1]);
        answers_.push_back(answer[0]);
        pids_.push_back(pid);
    }

    std::vector<int> jobs_, answers_;
    std::vector<pid_t> pids_;
};

} // namespace bench
