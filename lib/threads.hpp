#pragma once
// Whether a fork is safe: the threads of this process besides the caller.

#include <optional>

namespace cofork::detail {

/// Threads in `task_directory` (proc_pid_task(5)) besides the caller's own that can hold a lock.
///
/// Not counted: io_uring's, which the kernel makes and which run no code of ours, and threads that are ending: a
/// joined thread is listed a moment longer, but it never comes back from the kernel. Empty when the directory cannot
/// be read.
std::optional<unsigned> count_other_threads(const char* task_directory);

/// Threads of this process besides the caller, counted as above.
///
/// Empty when nobody can tell: /proc is not mounted, and libc has made threads. The caller then has to treat the
/// process as one with threads. ThreadSanitizer's own helper thread is not counted.
std::optional<unsigned> other_threads();

} // namespace cofork::detail
