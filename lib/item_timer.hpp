#pragma once
// When a worker's items begin, and how long they take.

#include "item_clock.hpp"

#include <algorithm>
#include <cstdint>

namespace cofork::detail {

/// Of items that follow each other without a pause, one ends when the next begins. Items that take little more than a look at the
/// clock does are looked at some at a time, unless somebody has to know of each: till then they are said to take what the last
/// ones took. So one that is slow for once shows a few items later, and with them.
class item_timer {
public:
    /// Returns since when the item runs, on the steady clock, ns: `exact`, or it may have begun later, as all but the first of
    /// those that are looked at together. `has_waited`: something else took time since the last one ended.
    std::uint64_t begin(bool exact, bool has_waited) noexcept
    {
        if (has_waited || (exact && skipped_ > 0))
            restart(has_waited);
        return began_;
    }

    /// The item ends. Returns how long it ran, ns.
    std::uint64_t end(bool exact) noexcept
    {
        if (!exact && may_skip_ > skipped_) {
            ++skipped_;
            busy_ = std::max(busy_, looked_busy_ + skipped_ * usual_);
            return usual_;
        }
        const std::uint64_t now = clock_.now();
        usual_ = (now - began_) / (skipped_ + 1);
        looked_busy_ += now - began_;
        busy_ = std::max(busy_, looked_busy_);
        began_ = now;
        skipped_ = 0;
        may_skip_ = usual_ < cheap_ns ? most_skipped : 0;
        return usual_;
    }

    /// Those of late took little more than a look at the clock.
    bool are_cheap() const noexcept { return may_skip_ > 0; }

    /// What happened since the last item ended was none's.
    void pause() noexcept { restart(true); }

    /// Since when the last one ran.
    std::uint64_t began() const noexcept { return began_; }
    /// The last look at the clock.
    std::uint64_t latest() const noexcept { return clock_.latest(); }
    std::uint64_t now() noexcept { return clock_.now(); }
    /// All items together, ns. Never less than before.
    std::uint64_t busy() const noexcept { return busy_; }

private:
    void restart(bool look) noexcept
    {
        began_ = look ? clock_.look() : clock_.now();
        looked_busy_ += skipped_ * usual_;
        skipped_ = may_skip_ = 0;
    }

    /// Eight of these are less than a microsecond.
    static constexpr std::uint64_t cheap_ns = 128;
    static constexpr unsigned most_skipped = 7;

    item_clock clock_;
    std::uint64_t began_ = 0;
    std::uint64_t busy_ = 0;
    std::uint64_t looked_busy_ = 0;
    std::uint64_t usual_ = 0;
    unsigned skipped_ = 0;
    unsigned may_skip_ = 0;
};

} // namespace cofork::detail
