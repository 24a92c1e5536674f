#pragma once
// Cuts a worker's stream of bytes into replies. Pure: no system calls; grows only with bytes that have arrived.

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace cofork::detail {

/// Bytes that grow without being filled with zeros first; realloc(3) moves large ones by remapping their pages.
class growing_bytes {
public:
    growing_bytes() = default;
    ~growing_bytes() { std::free(data_); }
    growing_bytes(const growing_bytes&) = delete;
    growing_bytes& operator=(const growing_bytes&) = delete;

    std::byte* data() noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t spare() const noexcept { return capacity_ - size_; }

    /// Throws std::bad_alloc.
    void reserve(std::size_t capacity)
    {
        if (capacity <= capacity_)
            return;
        void* const grown = std::realloc(data_, capacity);
        if (!grown)
            throw std::bad_alloc{};
        data_ = static_cast<std::byte*>(grown);
        capacity_ = capacity;
    }

    void append(byte_view more)
    {
        if (more.size() > spare())
            reserve(std::max(size_ + more.size(), 2 * size_));
        std::copy(more.begin(), more.end(), data_ + size_);
        size_ += more.size();
    }

    void grew(std::size_t by) noexcept { size_ += by; }

    void clear() noexcept
    {
        size_ = 0;
        if (capacity_ > keep) {
            std::free(data_);
            data_ = nullptr;
            capacity_ = 0;
        }
    }

private:
    static constexpr std::size_t keep = 64 * 1024;
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

/// The replies of one worker. After an error it must not be fed the same stream again: the worker cannot be trusted any
/// further.
class reply_parser {
public:
    /// Passes every whole reply in `bytes`, together with what is left of earlier ones, to
    /// `take(reply_header, payload)`, which returns whether to go on. `max_result` bounds the next reply and is
    /// asked again for each. Returns what is wrong with the stream, or null. Throws std::bad_alloc.
    template <typename MaxResult, typename Take>
    const char* feed(byte_view bytes, std::uint32_t& next, MaxResult&& max_result, Take&& take)
    {
        position_ += bytes.size();
        while (!bytes.empty() || complete()) {
            if (part_.size() > 0 || bytes.size() < sizeof(reply_header)) {
                if (const char* const wrong = complete_part(bytes, next, max_result))
                    return wrong;
                if (!complete())
                    return nullptr;
                const auto header = load<reply_header>(part_.data());
                ++next;
                settled_ += sizeof header + header.size;
                const bool go_on = take(header, byte_view{part_.data() + sizeof header, header.size});
                part_.clear();
                if (!go_on)
                    return nullptr;
                continue;
            }
            const auto header = load<reply_header>(bytes.data());
            if (const char* const wrong = wrong_with(header, next, max_result()))
                return wrong;
            if (bytes.size() - sizeof header < header.size) {
                part_.append(bytes);
                return nullptr;
            }
            ++next;
            const byte_view payload = bytes.subspan(sizeof header, header.size);
            bytes = bytes.subspan(sizeof header + header.size);
            settled_ += sizeof header + header.size;
            if (!take(header, payload))
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

    /// Memory for the rest of a large reply, to read into without a copy; empty when a small buffer does. What was
    /// read is told by `got`. At most twice what has arrived: a claim alone allocates nothing.
    std::span<std::byte> large_rest()
    {
        if (part_.size() < sizeof(reply_header) || missing() < large)
            return {};
        part_.reserve(std::min(part_.size() + missing(), std::max(2 * part_.size(), part_.size() + large)));
        return {part_.data() + part_.size(), std::min(part_.spare(), missing())};
    }
    void got(std::size_t bytes) noexcept
    {
        part_.grew(bytes);
        position_ += bytes;
    }

    static constexpr std::size_t large = 64 * 1024;

private:
    bool complete() noexcept { return part_.size() >= sizeof(reply_header) && missing() == 0; }
    std::size_t missing() noexcept
    {
        return sizeof(reply_header) + load<reply_header>(part_.data()).size - part_.size();
    }

    template <typename MaxResult>
    const char* complete_part(byte_view& bytes, std::uint32_t next, MaxResult&& max_result)
    {
        if (part_.size() < sizeof(reply_header)) {
            move_in(bytes, sizeof(reply_header) - part_.size());
            if (part_.size() < sizeof(reply_header))
                return nullptr;
            if (const char* const wrong = wrong_with(load<reply_header>(part_.data()), next, max_result()))
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
