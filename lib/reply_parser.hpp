#pragma once
// Cuts a worker's stream of bytes into replies. Pure: no system calls; grows only with bytes that have arrived.

#include "frame.hpp"
#include "growing_bytes.hpp"
#include "reply_run.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>

namespace cofork::detail {

/// What a stream may bring next.
struct next_replies {
    std::uint32_t sequence;
    std::uint64_t max_result; ///< bytes
    std::uint32_t most;       ///< so many may be taken at once
};

/// The replies of one worker. After an error it must not be fed the same stream again: the worker cannot be trusted any
/// further.
class reply_parser {
public:
    /// Passes the whole replies in `bytes`, together with what is left of earlier ones, to `take(reply_run)`, which returns
    /// whether to go on. `next()` says what may come, and is asked when a header is there. Returns what is wrong with the
    /// stream, or null. Throws std::bad_alloc.
    template <typename Next, typename Take>
    const char* feed(byte_view bytes, Next&& next, Take&& take)
    {
        position_ += bytes.size();
        while (!bytes.empty() || complete()) {
            if (part_.size() > 0 || bytes.size() < sizeof(reply_header)) {
                if (const char* const wrong = complete_part(bytes, next))
                    return wrong;
                if (!complete())
                    return nullptr;
                const reply_run one = first_run({part_.data(), part_.size()}, 1);
                settled_ += one.bytes();
                const bool go_on = take(one);
                part_.clear();
                if (!go_on)
                    return nullptr;
                continue;
            }
            const next_replies expected = next();
            const auto header = load<reply_header>(bytes.data());
            if (const char* const wrong = wrong_with(header, expected.sequence, expected.max_result))
                return wrong;
            if (bytes.size() - sizeof header < header.size) {
                part_.append(bytes);
                return nullptr;
            }
            const reply_run run = first_run(bytes, expected.most);
            bytes = bytes.subspan(run.bytes());
            settled_ += run.bytes();
            if (!take(run))
                return nullptr;
        }
        return nullptr;
    }

    /// Bytes of the stream that were fed so far.
    std::uint64_t position() const noexcept { return position_; }

    /// Forgets all that came after the last whole reply.
    void restart() noexcept
    {
        part_.clear();
        position_ = settled_;
    }

    /// What is missing of a reply is more than a small buffer should take.
    bool expects_large() noexcept { return part_.size() >= sizeof(reply_header) && missing() >= large; }
    /// Memory for the rest of a large reply, to read into without a copy; empty when a small buffer does. What was
    /// read is told by `got`. At most twice what has arrived: a claim alone allocates nothing. And not more at once than
    /// a loop has time for: the kernel fills fresh pages.
    std::span<std::byte> large_rest()
    {
        if (!expects_large())
            return {};
        const std::size_t whole = part_.size() + missing();
        if (part_.spare() < std::min(missing(), large))
            part_.reserve(std::min(whole, std::max(2 * part_.size(), part_.size() + large)), whole);
        const std::size_t at_once = std::clamp(part_.size(), large, most_at_once);
        return {part_.data() + part_.size(), std::min({part_.spare(), missing(), at_once})};
    }
    void got(std::size_t bytes) noexcept
    {
        part_.grew(bytes);
        position_ += bytes;
    }

    static constexpr std::size_t large = 64 * 1024;
    static constexpr std::size_t most_at_once = 256 * 1024;

private:
    bool complete() noexcept { return part_.size() >= sizeof(reply_header) && missing() == 0; }
    std::size_t missing() noexcept
    {
        return sizeof(reply_header) + load<reply_header>(part_.data()).size - part_.size();
    }

    template <typename Next>
    const char* complete_part(byte_view& bytes, Next&& next)
    {
        if (part_.size() < sizeof(reply_header)) {
            move_in(bytes, sizeof(reply_header) - part_.size());
            if (part_.size() < sizeof(reply_header))
                return nullptr;
            const next_replies expected = next();
            const auto header = load<reply_header>(part_.data());
            if (const char* const wrong = wrong_with(header, expected.sequence, expected.max_result))
                return wrong;
        }
        move_in(bytes, missing());
        return nullptr;
    }

    void move_in(byte_view& bytes, std::size_t wanted)
    {
        const std::size_t n = std::min(bytes.size(), wanted);
        part_.append(bytes.first(n));
        bytes = bytes.subspan(n);
    }

    growing_bytes part_; // a reply of which not all has arrived
    std::uint64_t position_ = 0;
    std::uint64_t settled_ = 0; // of these, in whole replies
};

} // namespace cofork::detail
