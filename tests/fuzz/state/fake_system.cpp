// The system calls that decide by themselves: the clock stands until it is moved, pipes are refused when that is wanted.

#include "machine.hpp"

#include "threads.hpp"

#include <cerrno>
#include <ctime>

#include <sys/syscall.h>
#include <unistd.h>

namespace {

// Of the thread that runs a target: the fuzzer has others, and a watchdog of its own.
thread_local fuzz::machine* current = nullptr;
thread_local std::chrono::nanoseconds virtual_now{0};

} // namespace

// In place of libc's. libstdc++'s steady_clock calls it, and with it Asio's timers.
extern "C" int clock_gettime(clockid_t id, timespec* into) noexcept
{
    if (!current || id != CLOCK_MONOTONIC)
        return static_cast<int>(::syscall(SYS_clock_gettime, id, into));
    into->tv_sec = virtual_now.count() / 1'000'000'000;
    into->tv_nsec = virtual_now.count() % 1'000'000'000;
    return 0;
}

// With a timerfd Asio would wait for the kernel's clock; without one it asks ours at every turn of its loop.
extern "C" int timerfd_create(int, int) noexcept
{
    errno = ENOSYS;
    return -1;
}

extern "C" int pipe2(int ends[2], int flags) noexcept
{
    if (current && current->no_pipes) {
        errno = EMFILE;
        return -1;
    }
    return static_cast<int>(::syscall(SYS_pipe2, ends, flags));
}

namespace cofork::detail {

std::optional<unsigned> other_threads(threads_that)
{
    return current && current->threads ? 1u : 0u;
}

} // namespace cofork::detail

namespace fuzz {

machine::machine()
{
    current = this;
    virtual_now = std::chrono::hours{1};
}

machine::~machine()
{
    current = nullptr;
}

machine& machine::here()
{
    return *current;
}

std::chrono::steady_clock::time_point machine::now()
{
    return std::chrono::steady_clock::now();
}

void machine::advance(std::chrono::nanoseconds by)
{
    virtual_now += by;
}

} // namespace fuzz
