#pragma once
// The nursery: a process with one thread that forks the workers, reaps them and reports how they ended.

#include "arena.hpp"
#include "nursery_protocol.hpp"
#include "page.hpp"
#include "worker_life.hpp"

#include <cstdint>
#include <sys/types.h>

namespace cofork::detail {

struct nursery_setup {
    int control;        ///< our end of the SOCK_SEQPACKET pair
    pid_t parent;       ///< whose death is ours
    page* pages;        ///< one per slot, shared with the parent
    arena* arenas;      ///< likewise; null: there are none
    std::uint32_t slots;
    worker_life life;
    std::uint32_t kept; ///< workers in the first slots do not end because they have nothing to do
};

/// Runs until the parent closes its end of the control socket or dies; then kills and reaps every worker, and every
/// process that they left behind, and ends. Call it in a fresh fork with all signals blocked.
[[noreturn]] void nursery_main(const nursery_setup& setup) noexcept;

} // namespace cofork::detail
