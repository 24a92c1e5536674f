#pragma once
// What a worker answers, on its way into the page and the result pipe.

#include "arena.hpp"
#include "arena_writer.hpp"
#include "frame.hpp"
#include "large_reply.hpp"
#include "own_pipe.hpp"
#include "page.hpp"
#include "process.hpp"

#include <cofork/detail/job.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include <time.h>
#include <unistd.h>

namespace cofork::detail {

inline std::uint64_t now_ns() noexcept
{
    timespec t;
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

/// The replies of one worker, gathered in the shared page and written in slices.
class reply_stream {
public:
    /// `large`: null when there is none.
    reply_stream(int fd, page& shared, arena* large) noexcept
        : fd_{fd}, page_{shared}, arena_{large ? std::span{large->results} : std::span<std::byte>{}, shared.received}
    {
    }

    /// `ran`: a duration_class.
    void add(reply_kind kind, std::uint8_t ran, std::uint32_t sequence, const reply_pieces& payload) noexcept
    {
        const std::size_t size = payload[0].size() + payload[1].size() + payload[2].size();
        const std::size_t whole = sizeof(reply_header) + size;
        if (whole > sizeof page_.out - held_)
            flush();
        if (whole > sizeof page_.out)
            return write_through({reply_magic, kind, ran, sequence, size}, payload);
        store_header(page_.out + held_, kind, ran, sequence, size);
        held_ += sizeof(reply_header);
        for (const byte_view part : payload)
            append(part);
        last_whole_ = whole;
        // Only now do the bytes exist for a parent that looks into the page: whole replies or nothing.
        page_.filled.store(static_cast<std::uint32_t>(held_), std::memory_order_release);
    }

    /// The page has room for so many as the last one was.
    bool has_room(std::size_t replies) const noexcept { return held_ + replies * last_whole_ <= sizeof page_.out; }

    void flush() noexcept
    {
        if (held_ > 0) {
            fd_.check();
            send(page_.out, held_);
            advance(held_);
            held_ = 0;
        }
        last_flush_ = now_ns();
    }

    /// When the last flush was over: it may have had to wait for the parent.
    std::uint64_t last_flush() const noexcept { return last_flush_; }

    /// Nothing has been finished before `now` that was not written.
    void wait_from(std::uint64_t now) noexcept { last_flush_ = now; }

    /// What was finished may wait in the page for `may_wait` ns.
    void flush_when_due(std::uint64_t now, std::uint64_t may_wait) noexcept
    {
        if (now >= last_flush_ + may_wait)
            flush();
    }

private:
    void send(const std::byte* from, std::size_t size) noexcept
    {
        if (!write_all(fd_.number(), from, size))
            ::_exit(EXIT_FAILURE); // nobody is left to hear it
    }

    void advance(std::size_t size) noexcept
    {
        // The order lets a reader in the parent notice that it copied bytes that were being replaced: it compares
        // `flushed` before and after. The fence keeps later writes to `out` behind the new value.
        page_.filled.store(0, std::memory_order_release);
        page_.flushed.fetch_add(size, std::memory_order_acq_rel);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }

    /// Where it is to be: who reads what was written in parts a moment ago, to copy it, waits for the parts to come out of the
    /// processor's store buffer. That was a tenth of what a trivial item took.
    static void store_header(
        std::byte* to, reply_kind kind, std::uint8_t ran, std::uint32_t sequence, std::uint64_t size) noexcept
    {
        store(to + offsetof(reply_header, magic), reply_magic);
        store(to + offsetof(reply_header, kind), kind);
        store(to + offsetof(reply_header, ran), ran);
        store(to + offsetof(reply_header, sequence), sequence);
        store(to + offsetof(reply_header, size), size);
    }

    void append(byte_view more) noexcept
    {
        if (!more.empty())
            std::memcpy(page_.out + held_, more.data(), more.size());
        held_ += more.size();
    }

    void write_through(const reply_header& header, const reply_pieces& payload) noexcept
    {
        fd_.check();
        const std::size_t written = large_reply{fd_.number(), arena_, header, payload}.write();
        if (written == 0)
            ::_exit(EXIT_FAILURE); // nobody is left to hear it
        advance(written);
        last_flush_ = now_ns();
    }

    own_pipe fd_;
    page& page_;
    arena_writer arena_;
    std::size_t held_ = 0;
    std::size_t last_whole_ = 0;
    std::uint64_t last_flush_ = now_ns();
};

} // namespace cofork::detail
