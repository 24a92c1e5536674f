#pragma once
// Consecutive items of one call, from the moment they are taken from its input until each has an outcome.

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace cofork::detail {

/// A run of items: the unit that is dispatched, taken back and started again. Copies share the bytes.
struct item_run {
    std::uint64_t first = 0;
    std::uint32_t count = 0;
    std::uint32_t attempt = 0; ///< how often these items were started before
    std::shared_ptr<const encoded_items> encoded; ///< per item: u64 size, bytes. Null when items are read by index
    std::size_t offset = 0;   ///< of the item `passed` before the first, in encoded->bytes
    std::uint32_t losses = 0; ///< workers that were lost with the first item unstarted
    std::uint32_t passed = 0;
    bool to_end = true; ///< no item follows in `encoded`

    /// Where the first item is, and how many bytes all are, their size words included, as far as they are in encoded->bytes.
    std::size_t begin() const noexcept { return behind(offset, passed); }
    std::size_t length() const noexcept
    {
        if (!encoded)
            return 0;
        const std::size_t from = begin();
        return (to_end ? encoded->bytes.size() : behind(from, count)) - from;
    }

    /// The bytes of all items in their order, piece by piece: `each(byte_view, owner)`. Precondition: encoded.
    template <typename Each>
    void pieces(Each&& each) const
    {
        const byte_view bytes = encoded->bytes;
        std::size_t at = begin();
        const std::size_t end = at + length();
        for (const left_block& block : encoded->left) {
            if (block.at > end)
                break; // of an item behind these
            each(bytes.subspan(at, block.at - at), encoded);
            each(block.bytes, block.keeper);
            at = block.at;
        }
        each(bytes.subspan(at, end - at), encoded);
    }

    /// Cuts the first `n` items off. Precondition: 0 < n <= count.
    item_run take_front(std::uint32_t n) noexcept
    {
        item_run front = copy_front(n);
        pass(n);
        return front;
    }
    /// The same, and they stay here, too.
    item_run copy_front(std::uint32_t n) noexcept
    {
        offset = begin(); // once, for whoever asks next
        passed = 0;
        item_run front = *this;
        front.count = n;
        front.to_end = to_end && n == count;
        return front;
    }

    /// The first `n` items are no longer of these. Where the next one is, is found when somebody asks: as a rule nobody does.
    void pass(std::uint32_t n) noexcept
    {
        passed += n;
        first += n;
        count -= n;
        losses = 0;
    }

private:
    std::size_t behind(std::size_t at, std::uint32_t items) const noexcept
    {
        if (!encoded)
            return 0;
        const byte_buffer& bytes = encoded->bytes;
        for (; items > 0; --items)
            at += sizeof(std::uint64_t) + load<std::uint64_t>(bytes.data() + at);
        return std::min(at, bytes.size()); // the size of the last one counts the blocks that it has elsewhere
    }
};

} // namespace cofork::detail
