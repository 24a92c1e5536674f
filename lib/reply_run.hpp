#pragma once
// Replies that lie one behind another: what is checked and taken at once, so that a trivial result costs no more than it is.

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace cofork::detail {

/// One reply or more; if more, values of consecutive items and of one size. Only how long each item took may differ.
struct reply_run {
    reply_header header; ///< of the first
    const std::byte* at; ///< where that is
    std::uint32_t count;
    arriving_block* block = nullptr; ///< has the end of its payload, if not null: then it is one reply
    std::size_t in_block = 0;        ///< bytes

    std::size_t stride() const noexcept { return sizeof header + header.size; }
    std::size_t bytes() const noexcept { return count * stride(); }
    /// Of the first.
    byte_view payload() const noexcept { return {at + sizeof header, header.size - in_block}; }
    std::uint8_t ran(std::uint32_t i) const noexcept { return load<reply_header>(at + i * stride()).ran; }
};

/// As many as `bytes` begins with, at most `most`. Precondition: the first is there as a whole, and nothing is wrong with it.
inline reply_run first_run(byte_view bytes, std::uint32_t most) noexcept
{
    reply_run run{load<reply_header>(bytes.data()), bytes.data(), 1};
    if (run.header.kind != reply_kind::value)
        return run;
    const std::size_t whole = std::min<std::size_t>(most, bytes.size() / run.stride());
    for (; run.count < whole; ++run.count) {
        const auto h = load<reply_header>(run.at + run.count * run.stride());
        if (h.magic != reply_magic || h.kind != reply_kind::value || h.sequence != run.header.sequence + run.count
            || h.size != run.header.size)
            break;
    }
    return run;
}

} // namespace cofork::detail
