// What a crew tells of itself.

#include "crew.hpp"

#include <vector>

namespace cofork::detail {

void crew::count_into(pool_stats& s) const noexcept
{
    s.spawned = spawned_;
    s.ended = ended_;
    s.killed = killed_;
    s.respawned = respawned_;
    s.workers = live();
    s.busy = busy();
    s.cpu = cpu_;
    s.peak_memory = peak_memory_;
    for (const auto& l : links())
        s.started += l->started_unanswered();
    setup_.counts->count_into(s);
}

std::vector<int> crew::living() const
{
    std::vector<int> pids;
    for (const auto& l : links()) {
        if (l->living_pid() != 0)
            pids.push_back(l->living_pid());
    }
    return pids;
}

std::vector<worker_state> crew::states(clock::time_point now) const
{
    std::vector<worker_state> all;
    for (const auto& l : links()) {
        if (!l->gone())
            all.push_back(l->state(now));
    }
    return all;
}

} // namespace cofork::detail
