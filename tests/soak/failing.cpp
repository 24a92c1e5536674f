#include "failing.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <initializer_list>
#include <new>

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __has_feature
#define SOAK_HAS_FEATURE(name) __has_feature(name)
#else
#define SOAK_HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SOAK_HAS_FEATURE(address_sanitizer) \
    || SOAK_HAS_FEATURE(thread_sanitizer)
#define SOAK_OWN_MEMORY 0
#else
#define SOAK_OWN_MEMORY 1
#endif

struct io_uring;

namespace soak {

namespace {

fault_plan* plan_in_use = nullptr;
part played = part::program;
std::atomic<unsigned> seen{0};

} // namespace

const char* to_string(system_call what) noexcept
{
    constexpr const char* names[] = {"fork", "pipe2", "socketpair", "pidfd_open", "mmap", "mprotect", "close_range", "prctl",
        "signalfd", "io_uring_enter", "waitid", "read", "write", "send", "recv", "sendmsg", "recvmsg", "poll",
        "memory"};
    static_assert(std::size(names) == static_cast<std::size_t>(system_call::count));
    return names[static_cast<std::size_t>(what)];
}

const char* to_string(part where) noexcept
{
    return where == part::program ? "program" : where == part::nursery ? "nursery" : "worker";
}

void play(fault_plan* plan) noexcept
{
    played = part::program;
    seen = 0;
    plan_in_use = plan;
}

bool fails(system_call what) noexcept
{
    fault_plan* const plan = plan_in_use;
    if (!plan || !plan->armed.load(std::memory_order_relaxed) || plan->what.what != what || plan->what.where != played)
        return false;
    if (++seen < plan->what.k || (plan->fired++ > 0 && !plan->what.lasting))
        return false;
    errno = plan->what.error;
    return true;
}

bool can_fail(system_call what) noexcept
{
    return what != system_call::memory || SOAK_OWN_MEMORY != 0;
}

namespace {

void after_fork() noexcept
{
    played = played == part::program ? part::nursery : part::worker;
    seen = 0;
}

} // namespace

} // namespace soak

using soak::fails;
using soak::system_call;

// NAME's own is __real_NAME, and whoever calls NAME comes to __wrap_NAME (ld(1), --wrap).
#define SOAK_WRAP(kind, result, name, parameters, arguments)                                                           \
    extern "C" result __real_##name parameters;                                                                        \
    extern "C" result __wrap_##name parameters                                                                         \
    {                                                                                                                  \
        return fails(system_call::kind) ? result(-1) : __real_##name arguments;                                        \
    }

SOAK_WRAP(pipe2, int, pipe2, (int* fds, int flags), (fds, flags))
SOAK_WRAP(socketpair, int, socketpair, (int domain, int type, int protocol, int* fds), (domain, type, protocol, fds))
SOAK_WRAP(mprotect, int, mprotect, (void* at, std::size_t size, int protection), (at, size, protection))
SOAK_WRAP(signalfd, int, signalfd, (int fd, const sigset_t* mask, int flags), (fd, mask, flags))
SOAK_WRAP(waitid, int, waitid, (idtype_t type, id_t id, siginfo_t* info, int options), (type, id, info, options))
SOAK_WRAP(read, ssize_t, read, (int fd, void* into, std::size_t size), (fd, into, size))
SOAK_WRAP(send, ssize_t, send, (int fd, const void* from, std::size_t size, int flags), (fd, from, size, flags))
SOAK_WRAP(recv, ssize_t, recv, (int fd, void* into, std::size_t size, int flags), (fd, into, size, flags))
SOAK_WRAP(sendmsg, ssize_t, sendmsg, (int fd, const msghdr* message, int flags), (fd, message, flags))
SOAK_WRAP(recvmsg, ssize_t, recvmsg, (int fd, msghdr* message, int flags), (fd, message, flags))
SOAK_WRAP(poll, int, poll, (pollfd* fds, nfds_t count, int timeout), (fds, count, timeout))

extern "C" pid_t __real_fork();
extern "C" pid_t __wrap_fork()
{
    if (fails(system_call::fork))
        return -1;
    const pid_t pid = __real_fork();
    if (pid == 0)
        soak::after_fork();
    return pid;
}

extern "C" void* __real_mmap(void*, std::size_t, int, int, int, off_t);
extern "C" void* __wrap_mmap(void* at, std::size_t size, int protection, int flags, int fd, off_t offset)
{
    if (fails(system_call::mmap))
        return reinterpret_cast<void*>(-1); // MAP_FAILED  NOLINT(performance-no-int-to-ptr)
    return __real_mmap(at, size, protection, flags, fd, offset);
}

extern "C" int __real_prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
extern "C" int __wrap_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    return fails(system_call::prctl) ? -1 : __real_prctl(option, a, b, c, d);
}

// syscall(2) takes what the call takes, at most six words, and a word too many does no harm.
extern "C" long __real_syscall(long, long, long, long, long, long, long);
extern "C" long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
    if (number == SYS_pidfd_open && fails(system_call::pidfd_open))
        return -1;
    if (number == SYS_close_range && fails(system_call::close_range))
        return -1;
    return __real_syscall(number, a, b, c, d, e, f);
}

// liburing makes its system calls itself; these two are those that enter the kernel for us.
extern "C" int __real_io_uring_submit(io_uring*);
extern "C" int __wrap_io_uring_submit(io_uring* queues)
{
    return fails(system_call::io_uring_enter) ? -errno : __real_io_uring_submit(queues);
}

extern "C" int __real_io_uring_submit_and_wait(io_uring*, unsigned);
extern "C" int __wrap_io_uring_submit_and_wait(io_uring* queues, unsigned count)
{
    return fails(system_call::io_uring_enter) ? -errno : __real_io_uring_submit_and_wait(queues, count);
}

extern "C" void* __real_aligned_alloc(std::size_t, std::size_t);
extern "C" void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size)
{
    return SOAK_OWN_MEMORY && fails(system_call::memory) ? nullptr : __real_aligned_alloc(alignment, size);
}

extern "C" void* __real_realloc(void*, std::size_t);
extern "C" void* __wrap_realloc(void* old, std::size_t size)
{
    return SOAK_OWN_MEMORY && fails(system_call::memory) ? nullptr : __real_realloc(old, size);
}

#if SOAK_OWN_MEMORY
// The array and nothrow forms call this one.
void* operator new(std::size_t size)
{
    if (!fails(system_call::memory))
        if (void* const memory = std::malloc(size))
            return memory;
    throw std::bad_alloc{};
}
void operator delete(void* memory) noexcept
{
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept
{
    std::free(memory);
}
#endif
