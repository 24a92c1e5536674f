#pragma once
// Many durations in little memory: how often each class of them occurred.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace cofork::detail {

/// Four classes to each power of two: the middle of a class is at most an eighth from everything in it.
constexpr std::uint8_t duration_class(std::uint64_t ns) noexcept
{
    if (ns < 4)
        return static_cast<std::uint8_t>(ns);
    const int power = static_cast<int>(std::bit_width(ns)) - 1;
    return static_cast<std::uint8_t>(4 * (power - 1) + static_cast<int>(ns >> (power - 2) & 3));
}

/// The middle of a class.
constexpr std::uint64_t typical_duration(std::uint8_t of) noexcept
{
    if (of < 4)
        return of;
    const int power = of / 4 + 1;
    const std::uint64_t first = (std::uint64_t{4} + of % 4) << (power - 2);
    return first + (std::uint64_t{1} << (power - 2)) / 2;
}

static_assert(duration_class(~std::uint64_t{0}) == 251);
static_assert(duration_class(typical_duration(200)) == 200);

class duration_counts {
public:
    void add(std::uint8_t of) noexcept { ++counts_[of]; }

    std::uint64_t count() const noexcept
    {
        std::uint64_t all = 0;
        for (const std::uint64_t n : counts_)
            all += n;
        return all;
    }

    /// Nanoseconds that a `share` of all is not longer than: 0.5 for the median, 1 for the longest. 0 when there are none.
    std::uint64_t quantile(double share) const noexcept
    {
        const double wanted = share * static_cast<double>(count());
        std::uint64_t seen = 0;
        std::size_t last = 0;
        for (std::size_t i = 0; i < counts_.size(); ++i) {
            seen += counts_[i];
            last = counts_[i] > 0 ? i : last;
            if (seen > 0 && static_cast<double>(seen) >= wanted)
                return typical_duration(static_cast<std::uint8_t>(i));
        }
        return typical_duration(static_cast<std::uint8_t>(last));
    }

private:
    std::array<std::uint64_t, 256> counts_{};
};

} // namespace cofork::detail
