#pragma once
// Cuts a worker's stream of bytes into replies. Pure: no system calls; grows only with bytes that have arrived.

#include "frame.hpp"
#include "growing_bytes.hpp"
#include "reply_run.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>

namespace cofork::detail {

/// What a stream may bring next.
struct next_replies {
    std::uint32_t sequence;
    std::uint64_t max_result; ///< bytes
    std::uint32_t most;       ///< so many may be taken at once
    block_maker maker = nullptr;  ///< for a value that comes in parts
    std::size_t before_value = 0; ///< bytes of a payload
};

/// Where parts of large replies lie: arena::results of a worker, which may write there at any time.
class part_source {
public:
    /// Empty: there is none. Throws std::bad_alloc.
    virtual byte_view memory() = 0;
    /// What is before this position is not needed any more.
    virtual void received(std::uint64_t position) noexcept = 0;

protected:
    ~part_source() = default;
};

/// The replies of one worker. After an error it must not be fed the same stream again: the worker cannot be trusted any
/// further.
class reply_parser {
public:
    explicit reply_parser(part_source& source) noexcept : source_{source} {}

    /// Passes the whole replies in `bytes`, together with what is left of earlier ones, to `take(reply_run)`, which returns
    /// whether to go on. `next()` says what may come, and is asked when a header is there. Returns what is wrong with the
    /// stream, or null. Throws std::bad_alloc.
    template <typename Next, typename Take>
    const char* feed(byte_view bytes, Next&& next, Take&& take)
    {
        position_ += bytes.size();
        while (!bytes.empty() || complete()) {
            if (has_header() || words_size_ > 0 || bytes.size() < sizeof(reply_header)) {
                if (const char* const wrong = complete_part(bytes, next))
                    return wrong;
                if (!complete())
                    return nullptr;
                settled_ = position_ - bytes.size();
                reply_run whole = first_run({part_.data(), part_.size()}, 1);
                whole.block = block_.get();
                whole.in_block = in_block_;
                const bool go_on = take(whole);
                clear();
                if (!go_on)
                    return nullptr;
                continue;
            }
            const next_replies expected = next();
            const auto header = load<reply_header>(bytes.data());
            if (const char* const wrong = wrong_with(header, expected.sequence, expected.max_result))
                return wrong;
            if (comes_in_parts(header) || bytes.size() - sizeof header < header.size) {
                begin(header, expected);
                bytes = bytes.subspan(sizeof header);
                continue;
            }
            const reply_run run = first_run(bytes, expected.most);
            bytes = bytes.subspan(run.bytes());
            settled_ = position_ - bytes.size();
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
        clear();
        words_size_ = 0;
        position_ = settled_;
    }

    /// What is missing of a reply, and comes next, is more than a small buffer should take.
    bool expects_large() noexcept { return has_header() && in_stream_ >= large; }
    /// Memory for the rest of a large reply, to read into without a copy; empty when a small buffer does. What was
    /// read is told by `got`. At most twice what has arrived: a claim alone allocates nothing. And not more at once than
    /// a loop has time for: the kernel fills fresh pages.
    std::span<std::byte> large_rest()
    {
        if (!expects_large() || block_)
            return {};
        if (part_.spare() < std::min<std::uint64_t>(in_stream_, large))
            make_room(large);
        const std::size_t at_once = std::clamp(part_.size(), large, most_read);
        return {part_.data() + part_.size(), std::min({part_.spare(), static_cast<std::size_t>(in_stream_), at_once})};
    }
    void got(std::size_t bytes) noexcept
    {
        part_.grew(bytes);
        in_stream_ -= bytes;
        position_ += bytes;
    }

    static constexpr std::size_t large = 64 * 1024;
    static constexpr std::size_t most_read = 256 * 1024;

private:
    bool has_header() const noexcept { return part_.size() >= sizeof(reply_header); }
    bool complete() noexcept { return has_header() && missing() == 0; }
    std::uint64_t missing() noexcept
    {
        return sizeof(reply_header) + load<reply_header>(part_.data()).size - part_.size() - in_block_;
    }

    void begin(reply_header header, const next_replies& expected)
    {
        const bool in_parts = comes_in_parts(header);
        header.size &= ~is_large;
        std::array<std::byte, sizeof header> bytes;
        store(bytes.data(), header);
        part_.append(bytes);
        in_stream_ = in_parts ? 0 : header.size;
        const std::size_t before = expected.before_value + arriving_block::lead;
        if (!in_parts || header.kind != reply_kind::value || header.size <= before || !expected.maker)
            return;
        block_ = expected.maker();
        before_block_ = sizeof header + before;
        block_->expect(header.size - before);
    }

    void clear() noexcept
    {
        part_.clear();
        block_.reset();
        in_block_ = 0;
    }

    /// Returns what is wrong, or null: it is complete, or `bytes` has no more of it.
    template <typename Next>
    const char* complete_part(byte_view& bytes, Next&& next)
    {
        if (!has_header()) {
            if (!complete_words(bytes, sizeof(reply_header)))
                return nullptr;
            const next_replies expected = next();
            const auto header = load<reply_header>(words_.data());
            if (const char* const wrong = wrong_with(header, expected.sequence, expected.max_result))
                return wrong;
            words_size_ = 0;
            begin(header, expected);
        }
        while (missing() > 0) {
            if (in_stream_ > 0) {
                if (bytes.empty())
                    return nullptr;
                move_in(bytes);
            }
            else if (!complete_part_words(bytes))
                return nullptr;
            else if (const char* const wrong = begin_part())
                return wrong;
        }
        return nullptr;
    }

    bool complete_words(byte_view& bytes, std::size_t wanted) noexcept
    {
        const std::size_t n = std::min(bytes.size(), wanted - std::min(wanted, words_size_));
        std::copy_n(bytes.begin(), n, words_.begin() + static_cast<std::ptrdiff_t>(words_size_));
        words_size_ += n;
        bytes = bytes.subspan(n);
        return words_size_ >= wanted;
    }

    bool complete_part_words(byte_view& bytes) noexcept
    {
        constexpr std::size_t word = sizeof(std::uint64_t);
        return complete_words(bytes, word)
               && ((load<std::uint64_t>(words_.data()) & is_large) == 0 || complete_words(bytes, 2 * word));
    }

    /// Precondition: complete_part_words().
    const char* begin_part()
    {
        words_size_ = 0;
        const auto word = load<std::uint64_t>(words_.data());
        const std::uint64_t size = word & ~is_large;
        if (size == 0 || size > missing())
            return "a part of a reply that it has no room for";
        if (word == size) {
            in_stream_ = size;
            return nullptr;
        }
        const auto position = load<std::uint64_t>(words_.data() + sizeof word);
        const byte_view arena = source_.memory();
        const std::size_t at = arena.empty() ? 0 : position % arena.size();
        if (size > arena.size() - at)
            return "a part of a reply that is not in its arena";
        append(arena.subspan(at, size));
        source_.received(position + size);
        return nullptr;
    }

    void move_in(byte_view& bytes)
    {
        const std::size_t n = std::min<std::uint64_t>(bytes.size(), in_stream_);
        append(bytes.first(n));
        in_stream_ -= n;
        bytes = bytes.subspan(n);
    }

    /// Of an arena, each byte once: its worker may write there meanwhile.
    void append(byte_view more)
    {
        const std::size_t n = block_ ? std::min(more.size(), before_block_ - part_.size()) : more.size();
        if (n > 0) {
            make_room(n);
            part_.append(more.first(n));
        }
        if (n < more.size()) {
            block_->add(more.subspan(n));
            in_block_ += more.size() - n;
        }
    }

    /// For so many more bytes, which are there.
    void make_room(std::size_t more)
    {
        if (part_.spare() >= more)
            return;
        const std::size_t whole = block_ ? before_block_ : part_.size() + missing();
        part_.reserve(std::min(whole, std::max(2 * part_.size(), part_.size() + more)), whole);
    }

    part_source& source_;
    growing_bytes part_; // a reply of which not all has arrived, and its header has
    std::unique_ptr<arriving_block> block_; // has the end of it, if not null
    std::size_t before_block_ = 0;
    std::size_t in_block_ = 0;    // bytes
    std::uint64_t in_stream_ = 0; // bytes of it that come next
    std::array<std::byte, sizeof(reply_header)> words_; // the begin of a header, or what a part begins with
    std::size_t words_size_ = 0;
    std::uint64_t position_ = 0;
    std::uint64_t settled_ = 0; // of these, in whole replies
};

} // namespace cofork::detail
