#include "pace.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace cofork::detail {
namespace {

constexpr std::size_t largest = 4096;     // beyond, a batch saves nothing measurable and fills a pipe
constexpr std::size_t growth = 4;         // over a batch that was measured
constexpr double forgetting = 0.25;       // weight of a cheaper measurement: a long item is remembered for a while
constexpr double full_slice_ns = 500'000; // of work in one batch
constexpr double long_slice_ns = 4'000'000; // where nobody waits
constexpr double least_slices = 4;        // for each worker, before slices are longer
constexpr double first_slice_ns = 125'000; // where the cost is a guess
constexpr double least_slice_ns = 25'000; // about one round trip: a smaller batch at the end evens out nothing
constexpr double prefetch_ns = 2'000'000; // others may come, and would wait for it
constexpr double prefetch_alone_ns = 20'000'000; // a batch that costs more hides its round trip anyway

} // namespace

void gate::started(time_point now) noexcept
{
    // A pause up to the end of time must not wrap around to the past.
    opens_at_ = pause_ < time_point::max() - std::max(now, time_point{}) ? now + pause_ : time_point::max();
}

/// Items that cost `slice_ns` together, as far as is known: 1 to `largest`.
std::size_t batch_size::worth(double slice_ns) const noexcept
{
    const double items = slice_ns / std::max(cost_ns_, 1e-3);
    return static_cast<std::size_t>(std::clamp(items, 1.0, static_cast<double>(largest)));
}

double batch_size::slice_ns(std::optional<std::size_t> remaining, unsigned workers, bool nobody_waits) const noexcept
{
    if (!nobody_waits || !remaining || !known_)
        return full_slice_ns;
    const double share = cost_ns_ * static_cast<double>(*remaining) / std::max(workers, 1u);
    return std::clamp(share / least_slices, full_slice_ns, long_slice_ns);
}

std::chrono::nanoseconds batch_size::may_wait(
    std::optional<std::size_t> remaining, unsigned workers, bool nobody_waits) const noexcept
{
    return std::chrono::nanoseconds{static_cast<std::int64_t>(slice_ns(remaining, workers, nobody_waits))};
}

/// The size while there is plenty left.
std::size_t batch_size::unhurried(double slice_ns) const noexcept
{
    if (chunk_ != 0)
        return chunk_;
    return known_ ? std::min(worth(slice_ns), grown_) : 1;
}

std::size_t batch_size::next(std::optional<std::size_t> remaining, unsigned workers, bool nobody_waits) const noexcept
{
    const std::size_t size = unhurried(slice_ns(remaining, workers, nobody_waits));
    if (!remaining)
        return size;
    const std::size_t left = std::max<std::size_t>(*remaining, 1);
    if (chunk_ != 0)
        return std::min(size, left);
    // Half of an even share, again and again: what is left when the first worker runs dry is small.
    const std::size_t share = left / (2 * std::max<std::size_t>(workers, 1));
    const std::size_t least = known_ ? worth(least_slice_ns) : 1;
    return std::min({size, std::max({share, least, std::size_t{1}}), left});
}

void batch_size::expect(double cost_ns) noexcept
{
    cost_ns_ = cost_ns;
    known_ = true;
    grown_ = worth(first_slice_ns);
}

bool batch_size::is_too_much(std::size_t items) const noexcept
{
    return chunk_ == 0 && measured_ && cost_ns_ * static_cast<double>(items) > long_slice_ns;
}

void batch_size::measured(std::size_t items, std::chrono::nanoseconds busy) noexcept
{
    if (items == 0)
        return;
    const double cost = static_cast<double>(std::max<std::int64_t>(busy.count(), 0)) / static_cast<double>(items);
    // Up at once, down slowly: right after a long item the cheap ones around it must not fill a huge batch, in which
    // the next long one would hold them all up.
    // But the first items of all, which find nothing in a cache, are outweighed by many.
    const auto more = static_cast<double>(items);
    const bool up = !measured_ || cost > cost_ns_;
    cost_ns_ = up ? cost : std::lerp(cost_ns_, cost, std::max(forgetting, more / (more + behind_)));
    behind_ = up ? more : behind_ + more;
    known_ = measured_ = true;
    grown_ = std::min(largest, std::max(grown_, items * growth));
}

bool batch_size::prefetch(bool alone) const noexcept
{
    return known_ && cost_ns_ * static_cast<double>(unhurried(full_slice_ns)) < (alone ? prefetch_alone_ns : prefetch_ns);
}

} // namespace cofork::detail
