#pragma once
// A batch as the bytes that go to a worker.

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

/// Bytes and who keeps them.
struct segment {
    std::shared_ptr<const void> keep;
    byte_view bytes;
};

/// The first segment has what fits into `most_copied` bytes; the rest stays where it is, in further ones.
inline std::vector<segment>
job_message(const call& owner, const item_run& items, std::uint32_t epoch, std::size_t most_copied)
{
    const job& work = *owner.the_job();
    const byte_view captures = work.captures();
    auto head = std::make_shared<byte_buffer>(sizeof(job_header));
    head->reserve(sizeof(job_header) + captures.size() + std::min(items.length(), most_copied));
    store(
        head->data(), job_header{
                          job_magic, epoch, items.count, static_cast<std::uint8_t>(items.encoded ? 0 : 1),
                          static_cast<std::uint8_t>(owner.must_be_exact() ? 1 : 0),
                          static_cast<std::uint16_t>(owner.measured() ? 1 : 0), items.first,
                          reinterpret_cast<std::uint64_t>(work.code()), captures.size(),
                          static_cast<std::uint64_t>(owner.may_wait().count()), owner.opts().max_result,
                          work.is_single() ? owner.number() : 0});
    head->insert(head->end(), captures.begin(), captures.end());
    std::vector<segment> message{{head, {}}};
    if (items.encoded) {
        items.pieces([&](byte_view piece, std::shared_ptr<const void> keep) {
            if (message.size() == 1 && head->size() + piece.size() <= most_copied)
                head->insert(head->end(), piece.begin(), piece.end());
            else if (!piece.empty())
                message.push_back({std::move(keep), piece});
        });
    }
    message.front().bytes = *head;
    return message;
}

} // namespace cofork::detail
