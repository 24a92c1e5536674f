#pragma once
// What the parent and its nursery say to each other, one message per packet of a SOCK_SEQPACKET pair.

#include <cstdint>

namespace cofork::detail {

/// What the parent asks.
enum class nursery_verb : std::uint32_t {
    spawn = 1,    ///< carries two descriptors: read end of the job pipe, write end of the result pipe
    kill = 2,
    look = 4,     ///< the worker is asked where it is, and goes on
    question = 3, ///< kill, after the worker was asked where it is: it has a moment to tell
};

struct nursery_request {
    nursery_verb verb;
    std::uint32_t slot;
    std::uint64_t generation; ///< of the worker in that slot: a late kill must not hit its successor
};

enum class nursery_news : std::uint32_t { spawned = 1, refused = 2, ended = 3, seen = 4 };

struct nursery_report {
    nursery_news news;
    std::uint32_t slot;
    std::uint64_t generation;
    std::int32_t pid;
    std::int32_t error;  ///< refused: errno of fork(2)
    std::int32_t code;   ///< ended: CLD_EXITED, CLD_KILLED or CLD_DUMPED (sigaction(2))
    std::int32_t status; ///< ended: exit status or signal
    std::uint64_t cpu_ns = 0;     ///< ended: processor time of its life, its reaped children's included (getrusage(2))
    std::uint64_t peak_bytes = 0; ///< ended: most memory that it had resident, pages that it shared included
};

} // namespace cofork::detail
