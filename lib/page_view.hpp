#pragma once
// A worker's page as the parent sees it.

#include "nursery_client.hpp"
#include "page.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace cofork::detail {

/// Keeps the pages alive: those of a lost nursery are still looked into while its workers are judged.
class page_view {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// Clears it: the worker that had it before is gone.
    page_view(std::shared_ptr<shared_pages> pages, std::uint32_t slot);

    /// Of the items that the worker may start now.
    std::uint32_t epoch() const noexcept { return epoch_; }
    /// Takes from the worker what it holds and has not started. Returns how many it has started in its life.
    std::uint32_t raise_epoch() noexcept;

    std::uint32_t started() const noexcept { return started_of(page_.claim.load(std::memory_order_acquire)); }
    std::uint32_t finished() const noexcept { return page_.finished.load(std::memory_order_acquire); }
    std::chrono::nanoseconds busy() const noexcept;
    /// Since when its present item runs; empty when none does.
    std::optional<time_point> running_since() const noexcept;
    /// When the last item that it started was started; empty when it has started none.
    std::optional<time_point> last_start() const noexcept;

    /// The whole replies that it has finished and not written, from `position` of its reply stream on. Empty when there
    /// are none, or they are on their way through the pipe. Throws std::bad_alloc.
    std::vector<std::byte> unwritten(std::uint64_t position) const;

private:
    time_point start_of_last() const noexcept;

    std::shared_ptr<shared_pages> pages_;
    page& page_;
    std::uint32_t epoch_ = 0;
};

} // namespace cofork::detail
