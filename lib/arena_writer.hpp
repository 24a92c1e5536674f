#pragma once
// Half of an arena as the process sees it that writes there.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace cofork::detail {

class arena_writer {
public:
    /// `read_to`: how far the reader is. Both outlive it.
    arena_writer(std::span<std::byte> memory, const std::atomic<std::uint64_t>& read_to) noexcept
        : memory_{memory}, read_to_{read_to}
    {
    }

    /// Else there is never any room.
    bool exists() const noexcept { return !memory_.empty(); }

    /// So many bytes come next, which the reader had better find in one piece.
    void begin(std::uint64_t size) noexcept
    {
        if (memory_.empty())
            return;
        const std::uint64_t again = up_to(filled_, memory_.size());
        if (free_bytes() == memory_.size()) {
            filled_ = unread_from_ = again; // what was used last is in the cache
            return;
        }
        const std::uint64_t next = up_to(filled_, grain);
        const bool ends_too_soon = size > memory_.size() - next % memory_.size();
        filled_ = ends_too_soon && again - filled_ + size <= free_bytes() ? again : next;
    }

    struct room {
        std::uint64_t position;
        std::span<std::byte> memory;
    };
    /// Where at most `wanted` of them go: empty when the reader still needs what is there.
    room take(std::size_t wanted) noexcept
    {
        if (memory_.empty())
            return {};
        const std::size_t least = std::min(wanted, least_room);
        if (memory_.size() - filled_ % memory_.size() < least)
            filled_ = up_to(filled_, memory_.size()); // else nothing would ever go there, and all of them another way
        const std::size_t at = filled_ % memory_.size();
        const std::size_t size = std::min({wanted, free_bytes(), memory_.size() - at});
        if (size < least)
            return {};
        const room found{filled_, memory_.subspan(at, size)};
        filled_ += size;
        return found;
    }

private:
    /// By the reader's word, of which nonsense is taken for none.
    std::size_t free_bytes() const noexcept
    {
        const std::uint64_t read_to = read_to_.load(std::memory_order_acquire);
        const std::uint64_t used = filled_ - std::max(read_to, unread_from_);
        return used <= memory_.size() ? memory_.size() - static_cast<std::size_t>(used) : 0;
    }

    static constexpr std::uint64_t up_to(std::uint64_t position, std::uint64_t unit) noexcept
    {
        return (position + unit - 1) / unit * unit;
    }

    static constexpr std::size_t least_room = 16 * 1024; // less is not worth its part
    static constexpr std::uint64_t grain = 64;           // so that elements of any type are where they may be

    const std::span<std::byte> memory_;
    const std::atomic<std::uint64_t>& read_to_;
    std::uint64_t filled_ = 0;      // position behind what was taken last
    std::uint64_t unread_from_ = 0; // nothing before this position is still to be read
};

} // namespace cofork::detail
