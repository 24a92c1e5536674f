#pragma once
// Each run in a process of its own, watched: a hang ends with a dump, a crash is a figure, nothing is left behind.

#include "figures.hpp"

#include <cstdint>

#include <sys/types.h>

namespace soak {

class supervisor {
public:
    supervisor(const settings& how, double patience_s);

    /// Carries out one run, prints its line, and says whether all figures were reached.
    bool carry_out(const run& r);

private:
    void start(const run& r);
    int watch(const run& r);
    void show_progress(const run& r) const;
    void hung(const run& r) const;
    void clear();
    bool tell(const run& r, int status) const;

    settings how_;
    std::uint64_t patience_; // ns
    pid_t subject_ = 0;
    std::uint64_t began_ = 0;
};

/// Where this process and all below it are, on standard error.
void show_family(pid_t pid);

/// Kills and reaps until none is left: what dies leaves its own children to us, when we are their subreaper.
void end_all_children();

} // namespace soak
