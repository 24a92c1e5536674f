#pragma once
// A process beside the run that sends signals to its workers.

#include "figures.hpp"

#include <cstdint>
#include <vector>

#include <sys/types.h>

namespace soak {

struct killing {
    std::uint64_t seed = 1;
    std::uint64_t interval = 5'000'000; ///< ns between two, from half of it to one and a half
    unsigned nursery_every = 0;         ///< so many workers, then their nursery; 0: never
    bool aimed = false;                 ///< waits, for half of them, until a worker is in the middle of a frame
    std::vector<int> signals;           ///< one of these each time; none: SIGKILL. A stopped worker may be woken later
};

/// For test::helper_process. Counts into the figures: kills, and of these the torn frames.
[[noreturn]] void kill_at_random(pid_t target, const killing& how);

} // namespace soak
