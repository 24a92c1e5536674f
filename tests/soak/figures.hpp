#pragma once
// What a run is asked for, and what it tells.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace soak {

struct settings {
    std::uint64_t seed = 1;
    double scale = 1; ///< of the amounts in the table of runs

    /// An amount of the table, scaled; at least `least`.
    [[nodiscard]] std::uint64_t amount(double full, std::uint64_t least = 1) const
    {
        const auto scaled = static_cast<std::uint64_t>(full * scale);
        return scaled < least ? least : scaled;
    }
};

/// In shared memory: the supervisor reads it, also when the run's process is dead.
struct figures {
    std::atomic<std::uint64_t> beat;   ///< steady clock, ns: the last progress of any kind
    std::atomic<std::uint64_t> items;  ///< outcomes that were looked at
    std::atomic<std::uint64_t> kills;  ///< processes killed from outside, or by themselves where a run plans it
    std::atomic<std::uint64_t> torn;   ///< of these, with part of a frame in the pipe
    std::atomic<std::uint64_t> lost;   ///< items without an outcome
    std::atomic<std::uint64_t> twice;  ///< outcomes too many, and starts too many
    std::atomic<std::uint64_t> wrong;  ///< values that are not f(item), failures that name another item
    std::atomic<std::uint64_t> hangs;
    std::atomic<std::uint64_t> gap;    ///< ns: longest time without an outcome while some are due
    std::atomic<std::uint64_t> complaints; ///< everything else that was demanded and is not so
    std::atomic<std::uint64_t> said;   ///< lines of complaints on standard error
    char remarks[400];                 ///< further figures, for people
};

extern figures* now; ///< of the run in progress

/// Without an outcome, while some are due, a call is as good as hanging.
inline constexpr std::uint64_t longest_gap = 1'000'000'000; // ns

inline std::uint64_t clock_ns()
{
    return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
}

/// Tells the watchdog that the run gets on.
inline void beat()
{
    now->beat.store(clock_ns(), std::memory_order_relaxed);
}

inline void note_gap(std::uint64_t ns)
{
    std::uint64_t longest = now->gap.load(std::memory_order_relaxed);
    while (ns > longest && !now->gap.compare_exchange_weak(longest, ns)) {
    }
}

/// Adds to what the run's line says at its end.
void remark(const std::string& text);

/// A figure that must be reached.
void demand(bool holds, const std::string& what);

/// One of the table: see faults.md.
struct run {
    const char* name;
    const char* title;
    const char* about;
    void (*body)(const settings&);
    bool counts_kills = false; ///< whether kills and torn frames are among its figures
};

void kill_storm(const settings&);        // S1
void faster_than_spawn(const settings&); // S2
void random_signals(const settings&);    // S3
void byte_sweep(const settings&);        // S4
void poison(const settings&);            // S5
void failing_calls(const settings&);     // S6
void cancel_and_destroy(const settings&); // S7
void starvation(const settings&);        // S9
void threads_beside(const settings&);    // S11
void parent_death(const settings&);      // S12

} // namespace soak
