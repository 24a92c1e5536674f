#pragma once
// A batch as the bytes that go to a worker.

#include "arena.hpp"
#include "call.hpp"
#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace cofork::detail {

static_assert(least_large <= least_left_block); // what is left elsewhere is of a large item

/// Bytes and who keeps them.
struct segment {
    std::shared_ptr<const void> keep;
    byte_view bytes;
    std::uint64_t item = 0; ///< of a large item: bytes from here to its end, in this segment and those that follow
};

/// Appends the items of a batch, of which some are large.
class item_segments {
public:
    explicit item_segments(std::vector<segment>& message) noexcept : message_{message} {}

    void add(item_run items)
    {
        std::size_t small_from = items.begin();
        while (items.count > 0) {
            const std::size_t at = items.begin();
            const auto size = load<std::uint64_t>(items.encoded->bytes.data() + at);
            const item_run one = items.take_front(1);
            if (size < least_large)
                continue;
            add_small(one.encoded, small_from, at);
            add_large(one, size);
            small_from = items.begin();
        }
        add_small(items.encoded, small_from, items.begin());
    }

private:
    void add_small(const std::shared_ptr<const encoded_items>& of, std::size_t from, std::size_t to)
    {
        if (to > from)
            message_.push_back({of, byte_view{of->bytes}.subspan(from, to - from)});
    }

    void add_large(const item_run& one, std::uint64_t size)
    {
        std::size_t lead = sizeof size; // its size goes another way
        one.pieces([&](byte_view piece, std::shared_ptr<const void> keep) {
            piece = piece.subspan(std::exchange(lead, 0));
            if (piece.empty())
                return;
            message_.push_back({std::move(keep), piece, size});
            size -= piece.size();
        });
    }

    std::vector<segment>& message_;
};

/// Appends it to `message`. Its first segment has all the rest, but for items that are more than `most_copied`: these stay where
/// they are. Throws std::bad_alloc.
inline void append_job(
    std::vector<segment>& message, const call& owner, const item_run& items, std::uint32_t epoch, std::size_t most_copied)
{
    const job& work = *owner.the_job();
    const byte_view captures = work.captures();
    const bool copied = items.encoded && items.encoded->left.empty() && items.length() <= most_copied;
    const byte_view copy = copied ? byte_view{items.encoded->bytes}.subspan(items.begin(), items.length()) : byte_view{};
    const std::size_t size = sizeof(job_header) + captures.size() + copy.size();
    const auto head = std::make_shared_for_overwrite<std::byte[]>(size);
    store(
        head.get(), job_header{
                        job_magic, epoch, items.count, static_cast<std::uint8_t>(items.encoded ? 0 : 1),
                        static_cast<std::uint8_t>(owner.must_be_exact() ? 1 : 0),
                        static_cast<std::uint16_t>(owner.measured() ? 1 : 0), items.first,
                        reinterpret_cast<std::uint64_t>(work.code()), captures.size(),
                        static_cast<std::uint64_t>(owner.may_wait().count()), owner.opts().max_result,
                        work.is_single() ? owner.number() : 0});
    const auto behind = std::ranges::copy(captures, head.get() + sizeof(job_header)).out;
    std::ranges::copy(copy, behind);
    message.push_back({head, {head.get(), size}});
    if (items.encoded && !copied)
        item_segments{message}.add(items);
}

} // namespace cofork::detail
