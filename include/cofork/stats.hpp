#pragma once
// What a pool has done so far, in numbers.

#include <cofork/failure.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cofork {

/// How long something took, over all times that it happened. The quantiles are exact to an eighth; 0 when nothing
/// happened yet.
struct durations {
    std::uint64_t count = 0;
    std::chrono::nanoseconds sum{0};
    std::chrono::nanoseconds p50{0};
    std::chrono::nanoseconds p90{0};
    std::chrono::nanoseconds p99{0};
    std::chrono::nanoseconds max{0};
};

/// How many items have failed, by failure_kind.
class failure_counts {
public:
    std::uint64_t operator[](failure_kind kind) const noexcept { return counts_[static_cast<std::size_t>(kind)]; }
    std::uint64_t& operator[](failure_kind kind) noexcept { return counts_[static_cast<std::size_t>(kind)]; }

    std::uint64_t sum() const noexcept
    {
        std::uint64_t all = 0;
        for (const std::uint64_t count : counts_)
            all += count;
        return all;
    }

private:
    std::array<std::uint64_t, static_cast<std::size_t>(failure_kind::not_started) + 1> counts_{};
};

/// What a pool has done so far, and what it is doing.
struct pool_stats {
    // Items.
    std::uint64_t started = 0;   ///< begun, each attempt counted
    std::uint64_t done = 0;      ///< that have an outcome
    failure_counts failed{};     ///< of these, without a value
    std::uint64_t retried = 0;   ///< attempts that failed and were followed by another
    std::size_t queued = 0;      ///< of the calls served now, and not given to a worker, as far as ranges know their size

    // Workers.
    std::uint64_t spawned = 0;   ///< processes started
    std::uint64_t respawned = 0; ///< of these, in the place of one that had ended
    std::uint64_t ended = 0;     ///< processes that have ended
    std::uint64_t killed = 0;    ///< of these, by us: timeouts, cancelled calls, broken protocol
    std::uint64_t crashed = 0;   ///< of these, by a signal or an exit that nobody had asked for
    unsigned workers = 0;        ///< alive now
    unsigned busy = 0;           ///< of these, holding items

    // Calls.
    std::size_t calls = 0;       ///< being served now
    std::size_t waiting = 0;     ///< that wait to be served: pool_options::max_calls

    // Amounts.
    durations run{};             ///< of f, each attempt counted
    durations wait{};            ///< of calls, until their first item was given to a worker
    std::uint64_t sent = 0;      ///< bytes, to workers
    std::uint64_t received = 0;  ///< bytes, of their replies
    std::chrono::nanoseconds cpu{0}; ///< processor time of all workers
    std::size_t peak_memory = 0; ///< bytes: the most that any of them has had resident (shared pages are counted)
};

/// What one worker of a pool does now.
struct worker_state {
    enum class doing {
        starting, ///< it is not ready yet: pool_options::init
        idle,
        busy,
        ending,   ///< it takes no more items
    };

    unsigned worker = 0;    ///< its place in the pool: event::worker
    int pid = 0;            ///< 0 while it is not known
    doing now = doing::idle;
    std::uint64_t call = 0; ///< busy: number of the call that it works for (event::call)
    const char* name = "";  ///< busy: options::name of that call
    std::size_t index = 0;  ///< busy: of the item that runs
    unsigned attempt = 0;   ///< busy: 1 is the first
    std::chrono::nanoseconds running{0}; ///< busy: since that item began; 0 when it has not yet
    std::chrono::nanoseconds age{0};     ///< since it was started
    std::uint64_t done = 0; ///< items that it has answered
};

/// The name of a state, as in the enumeration.
const char* to_string(worker_state::doing now) noexcept;

/// `stats` as text that Prometheus scrapes (exposition format 0.0.4, "text/plain; version=0.0.4"), each sample with the label
/// pool="`pool`". Metrics begin with "cofork_". For several pools in one answer, or your own metrics besides, append.
std::string prometheus(const pool_stats& stats, std::string_view pool = "default");

} // namespace cofork
