#pragma once
// A batch as the bytes that go to a worker.

#include "call.hpp"
#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace cofork::detail {

/// Bytes and who keeps them.
struct segment {
    std::shared_ptr<const byte_buffer> keep;
    byte_view bytes;
};

/// One segment; a payload of more than `most_copied` bytes is a second one, where it is.
inline std::vector<segment>
job_message(const call& owner, const item_run& items, std::uint32_t epoch, std::size_t most_copied)
{
    const job& work = *owner.the_job();
    const byte_view captures = work.captures();
    byte_view payload;
    if (items.bytes)
        payload = byte_view{*items.bytes}.subspan(items.offset, items.length(items.count));
    const bool together = payload.size() <= most_copied;
    auto head = std::make_shared<byte_buffer>(sizeof(job_header));
    head->reserve(sizeof(job_header) + captures.size() + (together ? payload.size() : 0));
    store(
        head->data(), job_header{
                          job_magic, epoch, items.count, static_cast<std::uint16_t>(items.bytes ? 0 : 1),
                          static_cast<std::uint16_t>(owner.measured() ? 1 : 0), items.first,
                          reinterpret_cast<std::uint64_t>(work.code()), captures.size(), owner.opts().max_result});
    head->insert(head->end(), captures.begin(), captures.end());
    if (together)
        head->insert(head->end(), payload.begin(), payload.end());
    std::vector<segment> message{{head, *head}};
    if (!together)
        message.push_back({items.bytes, payload});
    return message;
}

} // namespace cofork::detail
