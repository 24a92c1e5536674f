#pragma once
// The memory that the parent shares with one worker, and with nobody else.
//
// It says which item runs, lets the parent take back items that wait behind it, and holds results that the worker
// has finished and not yet written, so that a SIGKILL between two flushes loses nothing. What the parent reads here
// is a hint from a process that may be hostile: it is checked like bytes from the pipe, and a lying worker can only
// hurt the items that it holds itself.

#include "crash_facts.hpp"
#include "frame.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cofork::detail {

/// What a worker prints is read by its nursery, which has to know of which item it is.
struct printed_facts {
    std::atomic<std::uint64_t> index;    ///< of the item that runs
    std::atomic<std::uint64_t> call;     ///< job_header::call of the item that runs
    std::atomic<std::uint32_t> printing; ///< that item's sequence, plus 1; 0 between items. Written by the worker
    std::atomic<std::uint32_t> taking;   ///< 1: the nursery is looking whose the output is that it takes: the worker waits

    // By the nursery.
    std::atomic<std::uint32_t> whose; ///< value of `printing` when what is in `end` was printed
    std::atomic<std::uint32_t> size;  ///< bytes in `end`
    char end[max_output];             ///< the last that this item has printed
};

struct page {
    static constexpr std::size_t bytes = 64 * 1024;

    /// High half: the epoch, which only the parent raises. Low half: how many items the worker has claimed, which
    /// only the worker raises, and only while the epoch is that of the item's batch. One word, so that "claimed"
    /// and "taken back" exclude each other.
    std::atomic<std::uint64_t> claim;
    std::atomic<std::uint64_t> started_at; ///< steady clock, ns, of the last start; written before that
    std::atomic<std::uint32_t> started;    ///< items that have begun: all that are claimed, or some less where they are cheap
    std::atomic<std::uint32_t> finished;   ///< items whose f has returned
    std::atomic<std::uint64_t> busy;       ///< ns spent in f, all items together
    std::atomic<std::uint32_t> pid;        ///< of the worker, once its state is made and it takes items
    std::atomic<std::uint64_t> taken;      ///< of arena::items: what is before this position it does not need any more
    std::atomic<std::uint64_t> received;   ///< of arena::results: likewise the parent, which writes this

    alignas(64) std::atomic<std::uint64_t> flushed; ///< bytes of the reply stream before out[0]
    std::atomic<std::uint32_t> filled;              ///< bytes of whole replies in out
    std::byte out[bytes - 128 - sizeof(printed_facts) - sizeof(crash_facts)];

    printed_facts printed;
    crash_facts crash;
};

static_assert(sizeof(page) == page::bytes);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

constexpr std::uint64_t make_claim(std::uint32_t epoch, std::uint32_t claimed) noexcept
{
    return (std::uint64_t{epoch} << 32) | claimed;
}
constexpr std::uint32_t epoch_of(std::uint64_t claim) noexcept
{
    return static_cast<std::uint32_t>(claim >> 32);
}
constexpr std::uint32_t claimed_of(std::uint64_t claim) noexcept
{
    return static_cast<std::uint32_t>(claim);
}

} // namespace cofork::detail
