#pragma once
// What happens to items and workers, told as it happens: for logs, metrics and traces.

#include <cofork/failure.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace cofork {

enum class event_kind {
    start,   ///< an item begins: told when a free worker is given it, or when its worker is next heard of, at the latest
             ///< before its end
    finish,  ///< an item has its outcome
    retry,   ///< an attempt failed, and the item will be started again
    crash,   ///< a worker ended that should not have: by a signal or an exit that nobody asked it for
    spawn,   ///< a worker process was started
    respawn, ///< the same, in the place of one that has ended
};

/// The name of a kind, as in the enumeration.
const char* to_string(event_kind kind) noexcept;

/// One event. What it points to is there during the call alone.
struct event {
    event_kind kind = event_kind::start;
    std::chrono::steady_clock::time_point at{}; ///< when; `finish`, `retry`: when f had ended, by its worker's clock
    unsigned worker = 0;        ///< place of the worker among those of its pool or call, from 0 on; a successor has the same
    int pid = 0;                ///< of the worker; 0 while it is not known, as at the start of a worker's first item
    std::uint64_t call = 0;     ///< number of the call, from 1 on, counted over the program; 0: of no call
    const char* name = "";      ///< options::name of that call
    std::size_t index = 0;      ///< of the item; with `crash` only when `why` is there
    unsigned attempt = 0;       ///< of the item: 1 is the first; 0: of no item
    const failure* why = nullptr;    ///< `finish`: why there is no value; `retry`, and `crash` in an item: why; else null
    std::chrono::nanoseconds ran{0}; ///< `finish`, `retry`: how long f took
    std::chrono::nanoseconds cpu{0}; ///< `finish`, `retry`: processor time of the worker meanwhile; 0 when it did not get to
                                     ///< tell. `crash`: of its whole life
    std::size_t peak_memory = 0;     ///< the same: bytes, the most that this worker has had resident so far (ru_maxrss,
                                     ///< getrusage(2); shared pages are counted)
};

} // namespace cofork
