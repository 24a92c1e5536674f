#pragma once
// A reply that its worker's page is too small for, on its way into the arena and the result pipe.

#include "arena.hpp"
#include "arena_writer.hpp"
#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include <sched.h>
#include <sys/uio.h>

namespace cofork::detail {

/// The payload in pieces, which are one after the other in the reply.
using reply_pieces = std::array<byte_view, 3>;

class large_reply {
public:
    /// So much is one part in the arena: the parent reads it while the next one is written.
    static constexpr std::size_t part_bytes = 128 * 1024;

    large_reply(int fd, arena_writer& arena, reply_header header, const reply_pieces& payload) noexcept
        : fd_{fd}, arena_{arena}, payload_{payload}, left_{header.size}
    {
        arena_.begin(left_);
        header.size |= is_large;
        store(lead_.data(), header);
        led_ = sizeof header;
    }

    /// Returns how many bytes have gone into the pipe; 0: nobody reads it any more.
    std::size_t write() noexcept
    {
        std::size_t written = 0;
        while (left_ > 0) {
            const auto [position, memory] = room();
            if (memory.empty())
                count_ = begin_part_in_pipe();
            else {
                copy(memory);
                say(memory.size() | is_large);
                say(position);
                count_ = 1;
            }
            pieces_[0] = {lead_.data(), led_};
            const std::size_t bytes = write_pieces();
            if (bytes == 0)
                return 0;
            written += bytes;
            led_ = 0;
        }
        return written;
    }

private:
    /// Where the parent is busy it is better to sleep in the pipe.
    arena_writer::room room() noexcept
    {
        for (unsigned rounds = arena_.exists() ? most_rounds : 0; rounds > 0; --rounds) {
            const auto found = arena_.take(std::min<std::uint64_t>(left_, part_bytes));
            if (!found.memory.empty())
                return found;
            ::sched_yield();
        }
        return {};
    }

    void say(std::uint64_t word) noexcept
    {
        store(lead_.data() + led_, word);
        led_ += sizeof word;
    }

    void copy(std::span<std::byte> to) noexcept
    {
        while (!to.empty()) {
            const byte_view from = next(to.size());
            std::memcpy(to.data(), from.data(), from.size());
            to = to.subspan(from.size());
        }
    }

    /// Returns how many pieces there are to write.
    int begin_part_in_pipe() noexcept
    {
        std::size_t size = arena_.exists() ? std::min<std::uint64_t>(left_, least_large) : left_;
        say(size);
        int count = 1;
        for (; size > 0; ++count) {
            const byte_view piece = next(size);
            pieces_[static_cast<std::size_t>(count)] = {const_cast<std::byte*>(piece.data()), piece.size()};
            size -= piece.size();
        }
        return count;
    }

    /// The next bytes that lie together, at most so many.
    byte_view next(std::size_t most) noexcept
    {
        while (payload_[piece_].empty())
            ++piece_;
        const byte_view taken = payload_[piece_].first(std::min(most, payload_[piece_].size()));
        payload_[piece_] = payload_[piece_].subspan(taken.size());
        left_ -= taken.size();
        return taken;
    }

    /// Together: each write wakes the parent. Returns the bytes, or 0.
    std::size_t write_pieces() noexcept
    {
        std::size_t written = 0;
        for (iovec* first = pieces_.data(); count_ > 0;) {
            const ssize_t n = ::writev(fd_, first, count_);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return 0;
            written += static_cast<std::size_t>(n);
            std::size_t bytes = static_cast<std::size_t>(n);
            for (; count_ > 0 && bytes >= first->iov_len; ++first, --count_)
                bytes -= first->iov_len;
            if (bytes > 0)
                *first = {static_cast<std::byte*>(first->iov_base) + bytes, first->iov_len - bytes};
        }
        return written;
    }

    static constexpr unsigned most_rounds = 200;

    const int fd_;
    arena_writer& arena_;
    reply_pieces payload_; // what is left of it
    std::size_t piece_ = 0;
    std::uint64_t left_;
    std::array<std::byte, sizeof(reply_header) + 2 * sizeof(std::uint64_t)> lead_;
    std::size_t led_ = 0;
    std::array<iovec, 4> pieces_;
    int count_ = 0;
};

} // namespace cofork::detail
