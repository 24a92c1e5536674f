#pragma once
// The time in a worker, for less than a look at the clock costs.

#include "reply_stream.hpp"

#include <algorithm>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace cofork::detail {

/// Steady clock, ns, that never goes back. A look at the kernel's clock takes longer than a trivial item; the processor's
/// counter takes a third of that. It is trusted for a few ticks at a time, about a microsecond: whatever it does then, what
/// it says is no further from the truth.
class item_clock {
public:
    std::uint64_t now() noexcept
    {
#if defined(__x86_64__)
        const std::uint64_t ticks = __rdtsc() - looked_at_;
        if (ticks < trusted)
            return latest_ = std::max(latest_, time_ + (ticks * ns_per_1024_ticks_ >> 10));
#endif
        return look();
    }

    /// The kernel's.
    std::uint64_t look() noexcept
    {
        const std::uint64_t time = now_ns();
#if defined(__x86_64__)
        const std::uint64_t at = __rdtsc();
        const std::uint64_t ticks = at - first_look_;
        if (first_look_ == 0) {
            first_look_ = at;
            first_time_ = time;
        }
        else if (ticks > long_enough && ticks < too_long)
            ns_per_1024_ticks_ = std::min<std::uint64_t>(((time - first_time_) << 10) / ticks, 1024);
        looked_at_ = at;
        time_ = time;
#endif
        return latest_ = std::max(latest_, time);
    }

    /// What was last said.
    std::uint64_t latest() const noexcept { return latest_; }

private:
    std::uint64_t latest_ = 0;
#if defined(__x86_64__)
    static constexpr std::uint64_t trusted = 4096;
    static constexpr std::uint64_t long_enough = 1u << 20;        // to find out how long a tick is
    static constexpr std::uint64_t too_long = std::uint64_t{1} << 53; // for the sum of it
    std::uint64_t looked_at_ = 0;
    std::uint64_t time_ = 0;
    std::uint64_t first_look_ = 0;
    std::uint64_t first_time_ = 0;
    std::uint64_t ns_per_1024_ticks_ = 0; // until it is known, time stands still between two looks
#endif
};

} // namespace cofork::detail
