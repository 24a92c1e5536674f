#pragma once
// Consecutive items of one call, from the moment they are taken from its input until each has an outcome.

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <cstdint>
#include <memory>

namespace cofork::detail {

/// A run of items: the unit that is dispatched, taken back and started again. Copies share the bytes.
struct item_run {
    std::uint64_t first = 0;
    std::uint32_t count = 0;
    std::uint32_t attempt = 0; ///< how often these items were started before
    std::shared_ptr<const byte_buffer> bytes; ///< per item: u64 size, bytes. Null when items are read by index
    std::size_t offset = 0;                   ///< of the first item in `bytes`
    std::uint32_t losses = 0;                 ///< workers that were lost with the first item unstarted

    /// Bytes of the first `n` items, their size words included.
    std::size_t length(std::uint32_t n) const noexcept
    {
        std::size_t at = offset;
        for (; bytes && n > 0; --n)
            at += sizeof(std::uint64_t) + load<std::uint64_t>(bytes->data() + at);
        return at - offset;
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
