// What is told of a call: the part of call that events and numbers come from.

#include "call.hpp"

#include <algorithm>
#include <utility>

namespace cofork::detail {

void call::given(clock::time_point now) noexcept
{
    if (!counts_ || std::exchange(given_any_, true))
        return;
    const std::chrono::nanoseconds waited = std::max(now - started_at_, clock::duration{0});
    counts_->wait.add(duration_class(static_cast<std::uint64_t>(waited.count())));
    counts_->wait_sum += waited;
}

void call::starts(std::uint64_t index, std::uint32_t attempt, unsigned worker, int pid) noexcept
{
    event e;
    e.at = clock::now();
    e.worker = worker;
    e.pid = pid;
    e.index = index;
    e.attempt = attempt + 1;
    tell(e);
}

void call::tell(event e) noexcept
{
    e.call = number_;
    e.name = options_.name;
    if (options_.on_event && !silent_)
        options_.on_event(e);
    if (counts_ && counts_->listener)
        counts_->listener(e);
}

void call::tell_end(
    event_kind what, std::uint64_t index, std::uint32_t attempt, const attempt_facts& by, const failure* why)
{
    event e;
    e.kind = what;
    e.at = by.ended;
    e.worker = by.worker;
    e.pid = by.pid;
    e.index = index;
    e.attempt = attempt + 1;
    e.why = why;
    e.ran = by.ran;
    e.cpu = by.cpu;
    e.peak_memory = by.memory;
    tell(e);
}

void call::cost(std::size_t items, std::chrono::nanoseconds busy) noexcept
{
    batches_.measured(items, busy);
    if (counts_)
        counts_->run_sum += busy;
}

} // namespace cofork::detail
