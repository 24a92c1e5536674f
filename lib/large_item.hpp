#pragma once
// The bytes of a large item in its worker: in the arena, where they came there in one piece, else put together.

#include "arena.hpp"
#include "growing_bytes.hpp"
#include "page.hpp"

#include <cofork/detail/job.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace cofork::detail {

class large_item {
public:
    large_item(page& shared, const arena* from) noexcept : page_{shared}, arena_{from} {}

    /// So many bytes follow. The item before is over.
    void begin(std::size_t size) noexcept
    {
        done();
        size_ = size;
        gathered_ = 0;
        here_ = {};
    }

    /// The next bytes are in the arena. Throws std::bad_alloc.
    void add(std::uint64_t position, std::size_t size)
    {
        const std::size_t at = position % whole;
        const bool is_next = position == end_ && at > 0;
        end_ = position + size;
        if (gathered_ == 0 && size_ <= whole && (here_.empty() || is_next)) {
            here_ = {here_.empty() ? arena_->items + at : here_.data(), here_.size() + size};
            return;
        }
        std::memcpy(room(), arena_->items + at, size);
        gathered_ += size;
        done();
    }

    /// Where the next bytes go that are not in the arena; arrived() says that they have. Throws std::bad_alloc.
    std::byte* room()
    {
        memory_.reserve(size_);
        if (!here_.empty()) {
            std::memcpy(memory_.data(), here_.data(), here_.size());
            gathered_ = here_.size();
            here_ = {};
        }
        return memory_.data() + gathered_;
    }
    void arrived(std::size_t size) noexcept { gathered_ += size; }
    /// Nobody wants to see them.
    void skip(std::uint64_t position, std::size_t size) noexcept { end_ = position + size; }

    byte_view all() noexcept { return here_.empty() ? byte_view{memory_.data(), gathered_} : here_; }

    /// What of it is in the arena is not needed any more.
    void done() noexcept
    {
        if (taken_ == end_)
            return;
        taken_ = end_;
        page_.taken.store(taken_, std::memory_order_release);
    }

    std::size_t memory() const noexcept { return memory_.capacity(); }
    void free_memory() noexcept { memory_.clear(); }

private:
    static constexpr std::size_t whole = sizeof(arena::items);

    page& page_;
    const arena* arena_;
    std::size_t size_ = 0;
    byte_view here_;           // in the arena
    growing_bytes memory_{true};
    std::size_t gathered_ = 0; // in `memory_`
    std::uint64_t end_ = 0;    // of the arena: behind the last part
    std::uint64_t taken_ = 0;  // as the parent knows
};

} // namespace cofork::detail
