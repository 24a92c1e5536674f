#pragma once
// The bytes of a large item in its worker: in the value that is made of them, or in the arena, where they came there in one piece,
// or put together.

#include "arena.hpp"
#include "growing_bytes.hpp"
#include "page.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace cofork::detail {

class large_item {
public:
    large_item(page& shared, const arena* from) noexcept : page_{shared}, arena_{from} {}

    /// So many bytes follow, more than a few. The item before is over. Throws std::bad_alloc.
    void begin(std::size_t size, block_maker maker)
    {
        done();
        size_ = size;
        gathered_ = 0;
        here_ = {};
        if (!maker)
            return;
        value_ = maker();
        value_->expect(size - arriving_block::lead);
    }

    /// It has no value of its own.
    bool is_gathered() const noexcept { return !value_; }

    /// The next bytes are in the arena. Throws std::bad_alloc.
    void add(std::uint64_t position, std::size_t size)
    {
        const std::size_t at = position % whole;
        const bool is_next = position == end_ && at > 0;
        end_ = position + size;
        if (value_) {
            add({arena_->items + at, size});
            return take_from_arena();
        }
        if (gathered_ == 0 && size_ <= whole && (here_.empty() || is_next)) {
            here_ = {here_.empty() ? arena_->items + at : here_.data(), here_.size() + size};
            return;
        }
        std::memcpy(room(), arena_->items + at, size);
        gathered_ += size;
        take_from_arena();
    }
    /// The next bytes. Throws std::bad_alloc. Precondition: !is_gathered().
    void add(byte_view more)
    {
        const std::size_t n = std::min(more.size(), sizeof lead_ - gathered_);
        std::memcpy(lead_ + gathered_, more.data(), n);
        gathered_ += n;
        value_->add(more.subspan(n));
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

    /// As long as nobody says that it is done.
    travelled all() noexcept
    {
        if (value_)
            return {{lead_, gathered_}, value_.get()};
        return {here_.empty() ? byte_view{memory_.data(), gathered_} : here_};
    }

    /// It is not needed any more.
    void done() noexcept
    {
        value_.reset();
        take_from_arena();
    }

    std::size_t memory() const noexcept { return memory_.capacity(); }
    void free_memory() noexcept { memory_.clear(); }

private:
    /// All that has come there.
    void take_from_arena() noexcept
    {
        if (taken_ == end_)
            return;
        taken_ = end_;
        page_.taken.store(taken_, std::memory_order_release);
    }

    static constexpr std::size_t whole = sizeof(arena::items);

    page& page_;
    const arena* arena_;
    std::size_t size_ = 0;
    std::unique_ptr<arriving_block> value_;
    std::byte lead_[arriving_block::lead]; // of the value
    byte_view here_;           // in the arena
    growing_bytes memory_{true};
    std::size_t gathered_ = 0; // in `memory_` or `lead_`
    std::uint64_t end_ = 0;    // of the arena: behind the last part
    std::uint64_t taken_ = 0;  // as the parent knows
};

} // namespace cofork::detail
