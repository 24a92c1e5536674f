#pragma once
// What a caller may choose for one call. Every field has a unit and a default that is safe.

#include <cofork/event.hpp>
#include <cofork/failure.hpp>
#include <cofork/policy.hpp>
#include <cofork/progress.hpp>
#include <cofork/trivial_fn.hpp>

#include <chrono>
#include <cstddef>
#include <limits>
#include <string>
#include <type_traits>

namespace cofork {

/// options::workers: as many as there are processors for us (available_cpus()).
inline constexpr unsigned all_cpus = std::numeric_limits<unsigned>::max();

/// The smaller of the affinity mask and the cgroup's CPU quota, rounded up; at least 1.
/// The environment variable COFORK_WORKERS overrides both.
unsigned available_cpus();

/// How a stream hands results over.
enum class order {
    given,    ///< in the order of the items
    finished, ///< the soonest first
};

/// Which failures are worth another attempt: a set, combined with `|`.
enum class retry_on : unsigned {
    crash = 1,     ///< failure_kind::crashed, and protocol
    timeout = 2,   ///< failure_kind::timeout
    exception = 4, ///< failure_kind::exception, and limit
    any = crash | timeout | exception,
};

constexpr retry_on operator|(retry_on a, retry_on b) noexcept
{
    return static_cast<retry_on>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}

constexpr bool operator&(retry_on a, retry_on b) noexcept
{
    return (static_cast<unsigned>(a) & static_cast<unsigned>(b)) != 0;
}

/// What becomes of what workers write to stdout and stderr.
enum class output_mode {
    inherit, ///< it goes where the program's own goes
    tag,     ///< the same, each line behind "[item 17] ", of run() behind "[call 4] " (event::call), between items "[worker 4711] "
    capture, ///< its last 4 KiB, both streams together, come with the failure of an item (failure::output); the rest is for
             ///< nobody
    null,    ///< for nobody
};

/// An item that takes long, and goes on.
struct slow_item {
    std::size_t index = 0;  ///< of the item
    int pid = 0;            ///< of its worker
    unsigned attempt = 0;   ///< 1: the first
    std::chrono::nanoseconds elapsed{0}; ///< since its start
    std::string where{};     ///< the function it is in, when the worker could tell
    std::string backtrace{}; ///< a line per function
};

/// Options of one call. Write only what differs:
///
///     co_await cofork::parallel(parse, documents, {.workers = 8, .timeout = 2s});
///
/// With a pool, `workers` caps how many of the pool's workers the call keeps busy at once, `fresh` ends those that have run
/// something before and those that run its items after, and `with_threads` has no meaning (the pool's own decides).
struct options {
    unsigned workers = all_cpus;         ///< most workers at once; 0 = run here, serially, same contract
    std::chrono::nanoseconds pause{0};   ///< least time between two item starts, over all workers; first at once
    std::chrono::nanoseconds timeout{0}; ///< per item, from its own start; the worker is killed. 0 = none
    std::chrono::nanoseconds slow{0};    ///< an item that runs so long is told to on_slow, once, and goes on; 0 = none
    std::chrono::nanoseconds deadline{0}; ///< for the whole call, from its start; 0 = none
    std::chrono::steady_clock::time_point until = std::chrono::steady_clock::time_point::max(); ///< the same as a moment, for
                                         ///< a call that serves a request with a deadline of its own
    std::size_t chunk = 0;               ///< items per batch; 0 = adapted to the measured cost
    std::size_t window = 0;              ///< stream: items running or unread; 0 = chosen
    order delivery = order::given;       ///< stream only
    unsigned attempts = 1;               ///< > 1: a failed item is started again, through the gate
    retry_on again = retry_on::any;      ///< which failures are worth another attempt
    bool fresh = false;                  ///< a new process for every item
    bool with_threads = false;           ///< snapshot although other threads run: children may deadlock on
                                         ///< locks that those threads hold at the fork
    std::size_t total = 0;               ///< for progress when the range has no size
    progress_ref progress{};             ///< cofork::progress_bar, or anything with update(progress_state const&)
    trivial_fn<void(failure const&)> on_error{}; ///< called for every failed attempt, at once
    trivial_fn<void(slow_item const&)> on_slow{}; ///< called for an item that runs longer than `slow`. Its worker is asked where
                                         ///< it is by a signal: system calls of f may end with EINTR (signal(7)).
                                         ///< Not with workers = 0
    std::size_t max_result = std::size_t{64} << 20; ///< bytes; a larger encoded result fails its item
    const policy* sandbox = nullptr;     ///< without a pool: what workers may do; must stay until the call has started
    output_mode output = output_mode::inherit; ///< without a pool: what becomes of what workers write. Not with workers = 0
    trivial_fn<void(event const&)> on_event{}; ///< called for what happens to this call's items and, without a pool, to its
                                         ///< workers. Each item is then measured in its worker, by three system calls. An
                                         ///< exception from it ends the program
    const char* name = "";               ///< of the call in events; a literal, or what outlives the call
    int priority = 0;                    ///< pool: items of a call start before those of calls with a lower one
    bool pause_first = false;            ///< the first item waits for one `pause` too, as after a call just before
};

// g++ 12 destroys an aggregate temporary inside a co_await expression twice when a member has a destructor. An
// options struct that owns nothing is out of reach.
static_assert(std::is_trivially_copyable_v<options> && std::is_trivially_destructible_v<options>);

} // namespace cofork
