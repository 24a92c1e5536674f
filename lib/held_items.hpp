#pragma once
// What one worker has been given and has not answered, in the order in which it starts it.

#include "call.hpp"
#include "item_run.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

namespace cofork::detail {

class held_items {
public:
    bool empty() const noexcept { return batches_.empty(); }
    std::size_t count() const noexcept { return count_; }
    std::size_t batches() const noexcept { return batches_.size(); }
    /// Of the first item. Null when there is none.
    const std::shared_ptr<call>& owner() const noexcept { return empty() ? nobody_ : batches_.front().owner; }
    /// Precondition: !empty().
    item_run& first() noexcept { return batches_.front().items; }
    const item_run& first() const noexcept { return batches_.front().items; }

    void add(std::shared_ptr<call> owner, item_run items)
    {
        count_ += items.count;
        batches_.push_back({std::move(owner), std::move(items)});
    }

    /// Of the first `n`. Precondition: they are of one batch.
    void drop(std::uint32_t n) noexcept
    {
        count_ -= n;
        if (first().count == n)
            batches_.pop_front();
        else
            first().pass(n);
    }

    /// Index and earlier attempts of the item behind `n` others.
    std::optional<std::pair<std::uint64_t, std::uint32_t>> behind(std::size_t n) const noexcept
    {
        for (const batch& b : batches_) {
            if (n < b.items.count)
                return std::pair{b.items.first + n, b.items.attempt};
            n -= b.items.count;
        }
        return {};
    }

    /// Gives all but the first `n` back to their calls.
    void keep(std::size_t n)
    {
        std::deque<batch> kept;
        for (batch& b : batches_) {
            if (n >= b.items.count) {
                n -= b.items.count;
                kept.push_back(std::move(b));
                continue;
            }
            if (n > 0)
                kept.push_back({b.owner, b.items.take_front(static_cast<std::uint32_t>(n))});
            n = 0;
            count_ -= b.items.count;
            b.owner->give_back(std::move(b.items));
        }
        batches_ = std::move(kept);
    }

    /// Without telling their calls.
    void forget() noexcept
    {
        batches_.clear();
        count_ = 0;
    }

private:
    struct batch {
        std::shared_ptr<call> owner;
        item_run items;
    };

    static inline const std::shared_ptr<call> nobody_{};
    std::deque<batch> batches_;
    std::size_t count_ = 0;
};

} // namespace cofork::detail
