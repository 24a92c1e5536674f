#pragma once
// The child's loop: read a batch, call f on its items, write the replies. Plain blocking reads and writes.

#include "arena.hpp"
#include "page.hpp"
#include "worker_life.hpp"

#include <span>

namespace cofork::detail {

struct worker_setup {
    int jobs;     ///< read end of the job pipe
    int results;  ///< write end of the result pipe
    page* shared; ///< this worker's own
    arena* large; ///< likewise; null: it has none
    worker_life life;
    std::span<const int> output{}; ///< copies of the pipes that are its stdout and stderr; empty when nobody reads them
};

/// Runs until the job pipe is closed, then ends the process with _exit: atexit handlers, static objects and stdio
/// buffers belong to the process that was forked.
[[noreturn]] void worker_main(const worker_setup& setup) noexcept;

} // namespace cofork::detail

#if defined(ASIO_DETAIL_CONFIG_HPP) || defined(LIB_URING_H)
#error "the child side must not depend on Asio or liburing"
#endif
