// What is told of a worker: the part of link that events and numbers come from.

#include "link.hpp"

#include <algorithm>
#include <utility>

#include <sys/wait.h>

namespace cofork::detail {

/// Once: its first reply may come before the nursery's news, and those after the end of the call.
void link::tell_spawn() noexcept
{
    if (std::exchange(told_spawn_, true) || !terms_.counts->listener)
        return;
    event e;
    e.kind = terms_.successor ? event_kind::respawn : event_kind::spawn;
    e.at = clock::now();
    e.worker = slot_;
    e.pid = pid();
    terms_.counts->listener(e);
}

/// Tells the starts of items up to that sequence that have not been told. Precondition: it holds them, and somebody listens.
void link::tell_starts(std::uint32_t until) noexcept
{
    const auto before = [](std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; };
    if (before(told_, inbox_.answered()))
        told_ = inbox_.answered();
    for (; before(told_, until); ++told_) {
        if (const auto which = held_.behind(told_ - inbox_.answered()))
            held_.owner()->starts(which->first, which->second, slot_, pid());
    }
}

/// The same for one that is answered, or lost, and has the sequence `which`.
void link::tell_start(const item_run& one, std::uint32_t which, call& owner) noexcept
{
    if (!owner.measured() || static_cast<std::int32_t>(told_ - which) > 0)
        return;
    told_ = which + 1;
    owner.starts(one.first, one.attempt, slot_, pid());
}

/// Of a measured item the payload begins with what it has used, which is cut off. False when it is not there.
bool link::take_usage(byte_view& payload, attempt_facts& by) const noexcept
{
    if (payload.size() < sizeof(item_usage))
        return false;
    const auto used = load<item_usage>(payload.data());
    payload = payload.subspan(sizeof used);
    // The worker's word: no later than now, no longer than it has lived.
    const auto now = clock::now();
    const auto most = static_cast<std::uint64_t>((now - born_).count());
    const auto began = static_cast<std::int64_t>(std::min<std::uint64_t>(
        used.began, static_cast<std::uint64_t>(now.time_since_epoch().count())));
    by.ran = std::chrono::nanoseconds{static_cast<std::int64_t>(std::min(used.ran, most))};
    by.cpu = std::chrono::nanoseconds{static_cast<std::int64_t>(std::min(used.cpu, std::uint64_t{1} << 62))};
    by.memory = used.memory;
    by.ended = std::min(clock::time_point{std::chrono::nanoseconds{began}} + by.ran, now);
    return true;
}

/// Of an attempt that its worker did not come to report.
attempt_facts link::lost(const failure& why) const noexcept
{
    attempt_facts by;
    by.worker = slot_;
    by.pid = pid();
    by.ran = why.elapsed;
    by.ran_class = duration_class(static_cast<std::uint64_t>(why.elapsed.count()));
    by.memory = end_ ? end_->peak_bytes : 0;
    by.ended = clock::now();
    return by;
}

/// It has ended, in an item of `owner` or in none: tells those who listen, when nobody had asked it to end, or
/// only after it had died by itself: the news of that waits for the names of the crash.
void link::tell_crash(const failure* why, call* owner) noexcept
{
    const bool in_order = !why && end_ && end_->code == CLD_EXITED && end_->status == 0;
    const bool by_itself = why && (why->kind == failure_kind::crashed || why->kind == failure_kind::limit);
    const bool asked = killed() && !by_itself;
    if (!end_ || end_->pid == 0 || asked || retiring_ || in_order)
        return;
    tally& counts = *terms_.counts;
    ++counts.crashed;
    event e;
    e.kind = event_kind::crash;
    e.at = clock::now();
    e.worker = slot_;
    e.pid = end_->pid;
    e.cpu = std::chrono::nanoseconds{static_cast<std::int64_t>(end_->cpu_ns)};
    e.peak_memory = end_->peak_bytes;
    if (why) {
        e.why = why;
        e.index = why->index;
        e.attempt = why->attempts;
    }
    if (owner)
        owner->tell(e);
    else if (counts.listener)
        counts.listener(e);
}

worker_state link::state(clock::time_point now) const
{
    using doing = worker_state::doing;
    worker_state s;
    s.worker = slot_;
    s.pid = pid();
    s.age = now - born_;
    s.done = inbox_.answered();
    s.now = !alive() ? doing::ending : !began() ? doing::starting : held_.empty() ? doing::idle : doing::busy;
    if (held_.empty())
        return s;
    const std::uint32_t started = started_unanswered();
    const auto which = held_.behind(started > 0 ? started - 1 : 0);
    s.call = held_.owner()->number();
    s.name = held_.owner()->opts().name;
    s.index = which ? which->first : 0;
    s.attempt = which ? which->second + 1 : 0;
    if (const auto since = running_since())
        s.running = std::max(now - *since, clock::duration{0});
    return s;
}

} // namespace cofork::detail
