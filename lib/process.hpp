#pragma once
// The discipline of fork: signals, descriptors, memory that must not be inherited.

#include "owned_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <span>

namespace cofork::detail {

/// Blocks every signal of this thread for its lifetime. A signal that reached a child before it had reset its
/// handlers would run the parent's code in the wrong process.
class signals_blocked {
public:
    signals_blocked() noexcept;
    ~signals_blocked();
    signals_blocked(const signals_blocked&) = delete;
    signals_blocked& operator=(const signals_blocked&) = delete;

private:
    alignas(long) unsigned char before_[128]; // a sigset_t
};

/// Gives every signal its default meaning again. Async-signal-safe.
void default_signals() noexcept;
void unblock_signals() noexcept;

/// Closes every descriptor above 2 but the `keep`, which must be sorted and above 2. Async-signal-safe.
void close_others(std::span<const int> keep) noexcept;

/// Unmaps every io_uring ring that this process inherited: through that memory a child could make its parent's
/// kernel act with the parent's rights, without a system call of its own. Allocates nothing.
void unmap_rings() noexcept;

/// What a fork of the program does that goes on without it: unmaps rings, resets signals, has its own process group, adopts
/// orphans, dumps no core, forgets what stdio has not written, and reads nothing from the terminal.
void leave_program() noexcept;

/// When memory runs out, this process is the one to go, not the program.
void offer_to_oom_killer() noexcept;

/// Moves a descriptor above the numbers that programs use for stdio, so that re-pointing 0, 1 and 2 cannot hit it.
owned_fd above_stdio(owned_fd fd) noexcept;

/// Reads or writes everything; false at end of file or error. Retries EINTR.
bool read_all(int fd, std::byte* into, std::size_t size) noexcept;
bool write_all(int fd, const std::byte* from, std::size_t size) noexcept;

/// Tells, in a child of fork(2), that its owner is a copy: what the original has, processes, descriptors that others share,
/// memory of a ring, is not the copy's to use or to end. Costs no system call. A raw clone(2) is not noticed.
class made_here {
public:
    made_here() noexcept;
    explicit operator bool() const noexcept;

private:
    unsigned long forks_;
};

/// Where the kernel tells the size of this process; empty when it does not.
owned_fd open_statm() noexcept;
/// What this process has in memory and shares with no file (statm of proc(5)): pages that it still shares with its parent
/// are counted. 0 when it cannot be told. Allocates nothing.
std::size_t resident_bytes(const owned_fd& statm) noexcept;

/// What another process of ours has used so far; 0 when it has ended.
std::chrono::nanoseconds processor_time_of(pid_t pid) noexcept;
/// The most that it has had resident (VmHWM of proc(5)); 0 also when there is no /proc.
std::size_t peak_memory_of(pid_t pid) noexcept;

/// How many workers this process is inside of: 0 in the program, 1 in its workers, 2 in the workers of those.
inline unsigned worker_depth = 0;
/// Workers this deep may still have workers of their own. More is a slip that would fill the machine.
inline constexpr unsigned deepest_worker = 2;

/// pidfd_open(2), -1 with errno on failure. Not <sys/pidfd.h>: glibc 2.36 declares it without extern "C".
int pidfd_open(pid_t pid) noexcept;
int pidfd_kill(int pidfd, int signo) noexcept;

} // namespace cofork::detail
