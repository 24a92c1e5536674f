#include "tally.hpp"

namespace cofork {

namespace detail {

namespace {

durations summary_of(const duration_counts& counts, std::chrono::nanoseconds sum) noexcept
{
    const auto at = [&](double share) { return std::chrono::nanoseconds{static_cast<std::int64_t>(counts.quantile(share))}; };
    return {counts.count(), sum, at(0.5), at(0.9), at(0.99), at(1)};
}

} // namespace

void tally::count_into(pool_stats& s) const noexcept
{
    s.started += run.count(); // those that run now are in it
    s.done = done;
    s.failed = failed;
    s.retried = retried;
    s.crashed = crashed;
    s.sent = sent;
    s.received = received;
    s.run = summary_of(run, run_sum);
    s.wait = summary_of(wait, wait_sum);
}

} // namespace detail

const char* to_string(event_kind kind) noexcept
{
    switch (kind) {
    case event_kind::start: return "start";
    case event_kind::finish: return "finish";
    case event_kind::retry: return "retry";
    case event_kind::crash: return "crash";
    case event_kind::spawn: return "spawn";
    case event_kind::respawn: return "respawn";
    }
    return "unknown";
}

const char* to_string(worker_state::doing now) noexcept
{
    switch (now) {
    case worker_state::doing::starting: return "starting";
    case worker_state::doing::idle: return "idle";
    case worker_state::doing::busy: return "busy";
    case worker_state::doing::ending: return "ending";
    }
    return "unknown";
}

} // namespace cofork
