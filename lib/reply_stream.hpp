#pragma once
// What a worker answers, on its way into the page and the result pipe.

#include "frame.hpp"
#include "own_pipe.hpp"
#include "page.hpp"
#include "process.hpp"

#include <cofork/detail/job.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <tuple>

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
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
    /// `may_splice`: no filter forbids vmsplice(2).
    reply_stream(int fd, page& shared, bool may_splice) noexcept : fd_{fd}, page_{shared}, may_splice_{may_splice} {}

    /// The payload in parts, which are one after the other in the reply.
    using parts = std::array<byte_view, 3>;

    /// `ran`: a duration_class.
    void add(reply_kind kind, std::uint8_t ran, std::uint32_t sequence, const parts& payload) noexcept
    {
        const std::size_t size = payload[0].size() + payload[1].size() + payload[2].size();
        const reply_header header{reply_magic, kind, ran, sequence, size};
        const std::size_t whole = sizeof header + size;
        if (whole > sizeof page_.out - held_)
            flush();
        if (whole > sizeof page_.out)
            return write_through(header, payload);
        store(page_.out + held_, header);
        held_ += sizeof header;
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

    void append(byte_view more) noexcept
    {
        if (!more.empty())
            std::memcpy(page_.out + held_, more.data(), more.size());
        held_ += more.size();
    }

    void write_through(const reply_header& header, const parts& payload) noexcept
    {
        fd_.check();
        std::array<std::byte, sizeof header> lead;
        store(lead.data(), header);
        // Together: each write wakes the parent.
        gather whole;
        whole.add(lead);
        for (const byte_view part : payload)
            whole.add(part);
        const std::size_t size = whole.size();
        if (may_splice_ && size >= worth_splicing)
            lend(whole);
        const bool written = whole.move([this](const iovec* at, int count) { return ::writev(fd_.number(), at, count); });
        if (!written)
            ::_exit(EXIT_FAILURE); // nobody is left to hear it
        advance(size);
        last_flush_ = now_ns();
    }

    /// Bytes that are in several places, and go out one after the other.
    class gather {
    public:
        void add(byte_view part) noexcept
        {
            if (!part.empty())
                parts_[count_++] = {const_cast<std::byte*>(part.data()), part.size()};
        }
        std::size_t size() const noexcept
        {
            std::size_t all = 0;
            for (std::size_t i = first_; i < count_; ++i)
                all += parts_[i].iov_len;
            return all;
        }
        /// By `out`, as writev(2), until nothing is left. Returns whether that is so.
        template <typename Out>
        bool move(Out out) noexcept
        {
            while (first_ < count_) {
                const ssize_t n = out(&parts_[first_], static_cast<int>(count_ - first_));
                if (n < 0 && errno == EINTR)
                    continue;
                if (n <= 0)
                    return false;
                pass(static_cast<std::size_t>(n));
            }
            return true;
        }

    private:
        void pass(std::size_t bytes) noexcept
        {
            for (; first_ < count_ && bytes >= parts_[first_].iov_len; ++first_)
                bytes -= parts_[first_].iov_len;
            if (bytes > 0)
                parts_[first_] = {static_cast<std::byte*>(parts_[first_].iov_base) + bytes, parts_[first_].iov_len - bytes};
        }

        std::array<iovec, 1 + std::tuple_size_v<parts>> parts_;
        std::size_t first_ = 0;
        std::size_t count_ = 0;
    };

    /// Gives the pipe the pages themselves (vmsplice(2)), which the parent then copies from: one copy less. What it takes it has
    /// let go of when this returns.
    void lend(gather& from) noexcept
    {
        from.move([this](const iovec* at, int count) { return ::vmsplice(fd_.number(), at, static_cast<std::size_t>(count), 0); });
        int there = 0;
        for (unsigned rounds = 0; ::ioctl(fd_.number(), FIONREAD, &there) == 0 && there > 0; ++rounds) {
            const timespec moment{0, 50'000};
            rounds < 100 ? ::sched_yield() : ::nanosleep(&moment, nullptr);
        }
    }

    static constexpr std::size_t worth_splicing = 256 * 1024;

    own_pipe fd_;
    page& page_;
    const bool may_splice_;
    std::size_t held_ = 0;
    std::size_t last_whole_ = 0;
    std::uint64_t last_flush_ = now_ns();
};

} // namespace cofork::detail
