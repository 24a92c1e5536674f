// What a place tells of itself.

#include "dispatcher.hpp"

#include "process.hpp"

#include <algorithm>
#include <vector>

namespace cofork::detail {

pool_stats dispatcher::stats() const
{
    pool_stats now;
    std::vector<int> living;
    {
        const lock held{*guard_};
        crew_.count_into(now);
        living = crew_.living();
        now.queued = calls_.queued();
        now.calls = calls_.served();
        now.waiting = calls_.waiting();
    }
    for (const int pid : living) { // outside the lock: it takes a while, and calls must not wait for it
        now.cpu += processor_time_of(pid);
        now.peak_memory = std::max(now.peak_memory, peak_memory_of(pid));
    }
    return now;
}

std::vector<worker_state> dispatcher::worker_states() const
{
    const lock held{*guard_};
    return crew_.states(clock::now());
}

protection dispatcher::enforced() const
{
    const lock held{*guard_};
    return crew_.enforced();
}

} // namespace cofork::detail
