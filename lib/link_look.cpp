// What time does to a worker: the part of link that looks at the clock.

#include "link.hpp"

#include <algorithm>
#include <utility>

namespace cofork::detail {

namespace {

constexpr auto second_look = std::chrono::milliseconds{100};

} // namespace

bool link::late_to_boot(clock::time_point now) noexcept
{
    if (terms_.boot.count() <= 0 || began() || now - born_ < terms_.boot)
        return false;
    unfit_ = "pool_options::init has not ended in time (pool_options::boot_timeout)";
    kill(kill_reason::boot);
    return true;
}

std::optional<clock::time_point> link::look(clock::time_point now)
{
    if (retiring_ && !ended_) {
        if (now - quiet_since_ < terms_.leave)
            return quiet_since_ + terms_.leave;
        nursery_->kill(slot_, generation_); // it is still in an item that it has answered, or in fini
        return {};
    }
    if (!alive() || held_.empty() || late_to_boot(now))
        return {};
    const auto items = look_at_items(now);
    if (began() || terms_.boot.count() <= 0)
        return items;
    return std::min(items.value_or(clock::time_point::max()), born_ + terms_.boot);
}

/// Precondition: alive, and it holds items.
std::optional<clock::time_point> link::look_at_items(clock::time_point now)
{
    if (held_.count() > 1)
        harvest();
    if (held_.empty())
        return {};
    const auto timeout = held_.owner()->opts().timeout;
    if (timeout.count() <= 0)
        return {};
    if (page_.started() - inbox_.answered() > held_.count()) {
        kill(kill_reason::protocol, "says that it has started more than it holds");
        return {};
    }
    const bool stuck = makes_no_progress(now, timeout);
    auto since = running_since();
    if (since)
        since = std::min(*since, quiet_since_); // its own word is not taken for more than that
    if (!since && !stuck)
        return now + std::min<clock::duration>(timeout, second_look);
    if (since && now - *since < timeout)
        return *since + timeout;
    // First make sure that it starts nothing more, then look whether the item has finished meanwhile: a result in
    // the pipe wins over the timer, and the next item must not pay for this one.
    take_back();
    const std::uint32_t started = page_.started();
    if (!stuck) {
        if (page_.finished() == started)
            return {};
        const auto still = running_since();
        if (!still || (now - *still < timeout && *still <= now))
            return still.value_or(now) + timeout;
    }
    target_sequence_ = since ? started - 1 : inbox_.answered();
    kill(kill_reason::timeout);
    return {};
}

/// A worker that says it runs nothing, and neither begins what it holds nor answers what it has begun: it was stopped, or
/// it lies. Told at the second look, between which the program has had time to read what there is.
bool link::makes_no_progress(clock::time_point now, clock::duration timeout)
{
    const std::uint64_t progress = page_.started() + 2 * inbox_.answered() + held_.count() + inbox_.position();
    if (progress != progress_seen_ || !ready_) {
        progress_seen_ = progress;
        quiet_since_ = clock::now(); // `now` may be older than what was seen: the program does not always have a processor
        suspected_ = false;
    }
    if (running_since() || now - quiet_since_ < timeout + silence)
        return false;
    return std::exchange(suspected_, true);
}

} // namespace cofork::detail
