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
    if (!alive() || (held_.empty() && !sends()) || late_to_boot(now))
        return {};
    const auto items = held_.empty() ? look_at_rest(now) : look_at_items(now);
    enrol();
    if (began() || terms_.boot.count() <= 0)
        return items;
    return std::min(items.value_or(clock::time_point::max()), born_ + terms_.boot);
}

/// Precondition: alive, and it holds items.
std::optional<clock::time_point> link::look_at_items(clock::time_point now)
{
    if (held_.count() > 1)
        harvest();
    check_guess();
    if (held_.empty())
        return {};
    const auto slow = look_at_slow_item(now);
    const auto timeout = held_.owner()->opts().timeout;
    if (timeout.count() <= 0)
        return slow;
    const auto late = look_at_late_item(now, timeout);
    return late && slow ? std::min(*late, *slow) : late ? late : slow;
}

/// It has nothing to do but to read, so it is not for long that it does not.
std::optional<clock::time_point> link::look_at_rest(clock::time_point now)
{
    const std::pair progress{outbox_.writes(), channel_->unwritten()};
    if (!began() || progress != rest_seen_) {
        rest_seen_ = progress;
        unread_since_ = now;
        suspected_ = false;
    }
    if (now - unread_since_ < silence)
        return unread_since_ + silence;
    if (!std::exchange(suspected_, true)) // the program may have been away itself
        return now + second_look;
    kill(kill_reason::protocol, "it does not read what it is sent");
    return {};
}

/// Asks, once, where an item is that takes long. Returns when to look again.
std::optional<clock::time_point> link::look_at_slow_item(clock::time_point now)
{
    const auto slow = held_.owner()->opts().slow;
    if (slow.count() <= 0)
        return {};
    const auto since = running_since();
    if (!since)
        return now + slow; // it has not begun, or what it has done is on its way
    if (now - *since < slow)
        return std::min(*since, now) + slow; // what it says of a time to come is a lie
    if (asked_where_ != page_.started())
        nursery_->look(slot_, generation_);
    asked_where_ = page_.started();
    return now + slow; // the next one of its batch may have begun by then
}

void link::on_seen()
{
    if (held_.empty() || !alive() || asked_where_ != page_.started() || !running_since())
        return; // it has gone on
    const auto which = held_.behind(asked_where_ - 1 - inbox_.answered());
    if (!which)
        return;
    slow_item told;
    told.index = which->first;
    told.attempt = which->second + 1;
    told.pid = pid();
    told.elapsed = std::max(clock::now() - *running_since(), clock::duration{0});
    if (const auto said = page_.crash()) {
        told.where = said->where;
        told.backtrace = said->trace;
    }
    held_.owner()->is_slow(told);
}

/// Precondition: alive, it holds items, and they have a timeout.
std::optional<clock::time_point> link::look_at_late_item(clock::time_point now, clock::duration timeout)
{
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
