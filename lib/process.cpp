#include "process.hpp"

#include <algorithm>
#include <csignal>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <pthread.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

namespace cofork::detail {

signals_blocked::signals_blocked() noexcept
{
    static_assert(sizeof(sigset_t) <= sizeof before_);
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    std::memcpy(before_, &before, sizeof before);
}

signals_blocked::~signals_blocked()
{
    sigset_t before;
    std::memcpy(&before, before_, sizeof before);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void default_signals() noexcept
{
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    for (int signo = 1; signo < NSIG; ++signo)
        ::sigaction(signo, &action, nullptr); // fails for SIGKILL, SIGSTOP and libc's own: as wanted
}

void unblock_signals() noexcept
{
    sigset_t none;
    ::sigemptyset(&none);
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
}

namespace {

void close_between(unsigned first, unsigned last) noexcept
{
    if (first > last)
        return;
    if (::syscall(SYS_close_range, first, last, 0) == 0)
        return;
    // A filter that says no to close_range (Linux 5.9): one by one, as far as descriptors can have been handed out.
    const long limit = ::sysconf(_SC_OPEN_MAX);
    for (unsigned fd = first; fd <= last && static_cast<long>(fd) < limit; ++fd)
        ::close(static_cast<int>(fd));
}

} // namespace

void close_others(std::span<const int> keep) noexcept
{
    unsigned next = 3;
    for (const int fd : keep) {
        close_between(next, static_cast<unsigned>(fd) - 1);
        next = static_cast<unsigned>(fd) + 1;
    }
    close_between(next, ~0U);
}

namespace {

/// Unmaps the mapping that a line of /proc/self/maps describes, when it is a ring's.
void unmap_if_ring(char* line) noexcept
{
    if (!std::strstr(line, "[io_uring]"))
        return;
    char* end = nullptr;
    const unsigned long from = std::strtoul(line, &end, 16);
    if (!end || *end != '-')
        return;
    const unsigned long to = std::strtoul(end + 1, nullptr, 16);
    if (to > from)
        ::munmap(reinterpret_cast<void*>(from), to - from); // NOLINT(performance-no-int-to-ptr)
}

} // namespace

void unmap_rings() noexcept
{
    const int fd = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return; // no /proc: our own ring is marked MADV_DONTFORK besides
    char buffer[8192 + 1];
    std::size_t held = 0;
    for (;;) {
        const ssize_t got = ::read(fd, buffer + held, sizeof buffer - 1 - held);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        held += static_cast<std::size_t>(got);
        char* line = buffer;
        while (char* const newline = static_cast<char*>(std::memchr(line, '\n', held - static_cast<std::size_t>(line - buffer)))) {
            *newline = '\0';
            unmap_if_ring(line);
            line = newline + 1;
        }
        held -= static_cast<std::size_t>(line - buffer);
        std::memmove(buffer, line, held);
        if (held == sizeof buffer - 1)
            held = 0; // a line longer than any path: not a ring
    }
    ::close(fd);
}

void leave_program() noexcept
{
    unmap_rings();
    default_signals();
    ::setpgid(0, 0); // Ctrl-C is for the program, which decides what becomes of us
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    const rlimit none{0, 0}; // a core dump of 1 GiB takes seconds, and the item waits for it
    ::setrlimit(RLIMIT_CORE, &none);
    ::__fpurge(stdout); // unwritten text of the program would be written once more by every worker
    ::__fpurge(stderr);
    // In a process group of our own a read from the terminal would stop the worker for ever (SIGTTIN).
    const owned_fd nothing{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
    if (nothing)
        ::dup2(nothing.get(), STDIN_FILENO);
}

void offer_to_oom_killer() noexcept
{
    const owned_fd score{::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)};
    if (score)
        (void)!::write(score.get(), "500", 3);
}

owned_fd above_stdio(owned_fd fd) noexcept
{
    if (fd.get() > 2)
        return fd;
    return owned_fd{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)};
}

bool read_all(int fd, std::byte* into, std::size_t size) noexcept
{
    while (size > 0) {
        const ssize_t got = ::read(fd, into, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        into += got;
        size -= static_cast<std::size_t>(got);
    }
    return true;
}

bool write_all(int fd, const std::byte* from, std::size_t size) noexcept
{
    while (size > 0) {
        const ssize_t put = ::write(fd, from, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        from += put;
        size -= static_cast<std::size_t>(put);
    }
    return true;
}

owned_fd open_statm() noexcept
{
    return owned_fd{::open("/proc/self/statm", O_RDONLY | O_CLOEXEC)};
}

std::size_t resident_bytes(const owned_fd& statm) noexcept
{
    char text[256];
    const ssize_t got = ::pread(statm.get(), text, sizeof text - 1, 0);
    if (got <= 0)
        return 0;
    text[got] = '\0';
    char* at = text;
    (void)std::strtoul(at, &at, 10); // size
    const unsigned long resident = std::strtoul(at, &at, 10);
    const unsigned long shared = std::strtoul(at, &at, 10); // with files and shared memory
    static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return (resident - std::min(resident, shared)) * page;
}

std::chrono::nanoseconds processor_time_of(pid_t pid) noexcept
{
    clockid_t clock{};
    timespec used{};
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0)
        return {};
    return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

std::size_t peak_memory_of(pid_t pid) noexcept
{
    char text[2048];
    std::snprintf(text, sizeof text, "/proc/%d/status", static_cast<int>(pid));
    const owned_fd status{::open(text, O_RDONLY | O_CLOEXEC)};
    const ssize_t got = status ? ::read(status.get(), text, sizeof text - 1) : -1;
    if (got <= 0)
        return 0;
    text[got] = '\0';
    const char* const peak = std::strstr(text, "VmHWM:");
    return peak ? std::strtoul(peak + std::strlen("VmHWM:"), nullptr, 10) * 1024 : 0;
}

namespace {

unsigned long forks = 0; // between the first process and this one

} // namespace

made_here::made_here() noexcept
{
    static const int registered = ::pthread_atfork(nullptr, nullptr, [] { ++forks; });
    (void)registered; // fails for lack of memory alone, and then copies are not told from originals
    forks_ = forks;
}

made_here::operator bool() const noexcept
{
    return forks_ == forks;
}

int pidfd_open(pid_t pid) noexcept
{
    return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
}

int pidfd_kill(int pidfd, int signo) noexcept
{
    return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signo, nullptr, 0));
}

} // namespace cofork::detail
