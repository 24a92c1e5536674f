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
    std::size_t offset = 0;   ///< of the first item in encoded->bytes
    std::uint32_t losses = 0; ///< workers that were lost with the first item unstarted

    /// Bytes of the first `n` items in encoded->bytes, their size words included.
    std::size_t length(std::uint32_t n) const noexcept
    {
        if (!encoded)
            return 0;
        const byte_buffer& bytes = encoded->bytes;
        std::size_t at = offset;
        for (; n > 0; --n)
            at += sizeof(std::uint64_t) + load<std::uint64_t>(bytes.data() + at);
        return std::min(at, bytes.size()) - offset; // the size of the last one counts the blocks that it has elsewhere
    }

    /// The bytes of all items in their order, piece by piece: `each(byte_view, owner)`. Precondition: encoded.
    template <typename Each>
    void pieces(Each&& each) const
    {
        const byte_view bytes = encoded->bytes;
        const std::size_t end = offset + length(count);
        std::size_t at = offset;
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
        item_run front = *this;
        front.count = n;
        drop_front(n);
        return front;
    }

    void drop_front(std::uint32_t n) noexcept
    {
        offset += length(n);
        first += n;
        count -= n;
        losses = 0;
    }
};

} // namespace cofork::detail
