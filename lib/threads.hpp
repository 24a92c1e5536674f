#pragma once
// Whether a fork is safe: the threads of this process besides the caller.

#include <optional>

namespace cofork::detail {

enum class threads_that {
    can_hold_a_lock, ///< all but io_uring's, which the kernel makes and which run no code of ours
    can_act,         ///< also the one of io_uring that carries out whatever is written into its ring: IORING_SETUP_SQPOLL
};

/// Threads in `task_directory` (proc_pid_task(5)) besides the caller's own.
///
/// Not counted are threads that are ending: a joined thread is listed a moment longer, but it never comes back from the
/// kernel. Empty when the directory cannot be read.
std::optional<unsigned> count_other_threads(const char* task_directory, threads_that count = threads_that::can_hold_a_lock);

/// Threads of this process besides the caller, counted as above.
///
/// Empty when nobody can tell: /proc is not mounted, and libc has made threads or the kernel's own matter. The caller
/// then has to treat the process as one with threads. ThreadSanitizer's own helper thread is not counted.
std::optional<unsigned> other_threads(threads_that count = threads_that::can_hold_a_lock);

} // namespace cofork::detail
