#include "outbox.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <utility>

namespace cofork::detail {

void outbox::add(std::vector<segment>& message)
{
    const auto before = static_cast<std::ptrdiff_t>(unsent_.size());
    unsent_.resize(unsent_.size() + message.size());
    std::ranges::move(message, unsent_.begin() + before);
    message.clear();
}

byte_view outbox::next() noexcept
{
    if (by_pipe_ > 0)
        return unsent_.front().bytes.first(by_pipe_);
    led_ = 0;
    if (left_ == 0) {
        if (unsent_.front().item == 0) // by itself: its worker wakes up while the next bytes are copied
            return unsent_.front().bytes;
        begin_large_item();
    }
    announce_part();
    lead_waits_ = true;
    return {lead_.data(), led_};
}

void outbox::wrote() noexcept
{
    ++writes_;
    if (std::exchange(lead_waits_, false))
        return;
    if (by_pipe_ > 0)
        pop(std::exchange(by_pipe_, 0));
    else
        unsent_.pop_front();
}

void outbox::begin_large_item() noexcept
{
    left_ = unsent_.front().item;
    lead(left_ | is_large);
    arena* const ours = page_.open_arena();
    if (!arena_)
        arena_.emplace(ours ? std::span{ours->items} : std::span<std::byte>{}, page_.taken());
    arena_->begin(left_);
}

void outbox::announce_part() noexcept
{
    const auto [position, memory] = arena_->take(part_size());
    if (memory.empty()) {
        const std::size_t piece = unsent_.front().bytes.size();
        by_pipe_ = arena_->exists() ? std::min(piece, most_by_pipe) : piece;
        lead(by_pipe_);
        left_ -= by_pipe_;
        return;
    }
    copy(memory);
    lead(memory.size() | is_large);
    lead(position);
}

/// The worker reads one while the next is written, and waits for the last one: the fewer bytes follow, the fewer at once.
std::size_t outbox::part_size() const noexcept
{
    return std::clamp<std::uint64_t>(left_ / 4, std::min(left_, least_at_once), most_at_once);
}

void outbox::copy(std::span<std::byte> to) noexcept
{
    left_ -= to.size();
    while (!to.empty()) {
        const byte_view from = unsent_.front().bytes.first(std::min(to.size(), unsent_.front().bytes.size()));
        std::memcpy(to.data(), from.data(), from.size());
        to = to.subspan(from.size());
        pop(from.size());
    }
}

void outbox::pop(std::size_t bytes) noexcept
{
    segment& first = unsent_.front();
    first.bytes = first.bytes.subspan(bytes);
    if (first.bytes.empty())
        unsent_.pop_front();
}

void outbox::lead(std::uint64_t word) noexcept
{
    store(lead_.data() + led_, word);
    led_ += sizeof word;
}

} // namespace cofork::detail
