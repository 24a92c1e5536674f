#pragma once
// What a place counts, and who hears of what happens there.

#include "durations.hpp"

#include <cofork/event.hpp>
#include <cofork/stats.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <utility>

namespace cofork::detail {

/// Who ran an attempt, and what that took.
struct attempt_facts {
    unsigned worker = 0;
    int pid = 0;
    std::uint8_t ran_class = 0; ///< duration_class of `ran`, which is known exactly only where somebody listens
    std::chrono::nanoseconds ran{0};
    std::chrono::nanoseconds cpu{0};
    std::size_t memory = 0;
    std::chrono::steady_clock::time_point ended{};
};

/// Used on the strand of its place.
struct tally {
    explicit tally(std::function<void(const event&)> l = {}) : listener{std::move(l)} {}

    void count_into(pool_stats& s) const noexcept;
    /// What the item took that was answered last, to an eighth.
    std::chrono::nanoseconds last_run() const noexcept
    {
        return std::chrono::nanoseconds{static_cast<std::int64_t>(typical_duration(last_run_class))};
    }

    std::function<void(const event&)> listener; ///< of the place; may be empty

    std::uint64_t done = 0;
    failure_counts failed{};
    std::uint64_t retried = 0;
    std::uint64_t crashed = 0; ///< workers
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
    std::uint8_t last_run_class = 0;
    duration_counts run;
    std::chrono::nanoseconds run_sum{0};
    duration_counts wait;
    std::chrono::nanoseconds wait_sum{0};
};

} // namespace cofork::detail
