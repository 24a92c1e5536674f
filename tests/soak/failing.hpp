#pragma once
// The k-th system call of a kind fails, in the process that plays the part: the program, its nursery or a worker. The
// library's calls come here first (failing.cpp; the linker's --wrap).

#include <atomic>
#include <cstddef>

namespace soak {

enum class system_call {
    fork, pipe2, socketpair, pidfd_open, mmap, mprotect, close_range, prctl, signalfd, io_uring_enter, waitid, read, write,
    send, recv, sendmsg, recvmsg, poll, memory, ///< memory: operator new, aligned_alloc, realloc
    count
};

enum class part { program, nursery, worker, count };

const char* to_string(system_call) noexcept;
const char* to_string(part) noexcept;

struct fault {
    system_call what = system_call::count;
    part where = part::program;
    unsigned k = 0;       ///< counted from 1 in each process that plays the part
    int error = 0;
    bool lasting = false; ///< and all that follow; else only one, of the process that is first
};

/// In shared memory, so that all processes of a case hear when it is over.
struct fault_plan {
    std::atomic<bool> armed;
    std::atomic<unsigned> fired;
    fault what;
};

/// Of this process and those that it forks from now on: `plan`, or none.
void play(fault_plan* plan) noexcept;

/// Counts a call; whether it has to fail, and then errno is set.
bool fails(system_call what) noexcept;

/// Whether this build can make it fail: memory is the sanitizer's where there is one.
bool can_fail(system_call what) noexcept;

} // namespace soak
