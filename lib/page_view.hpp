#pragma once
// A worker's page as the parent sees it.

#include "nursery_client.hpp"
#include "page.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cofork::detail {

/// What the worker told of its own end, with the names that the symboliser found.
struct crash_report {
    int signal = 0;
    std::optional<std::uint64_t> address;
    bool stack_overflow = false;
    std::optional<int> system_call; ///< that a filter forbade
    std::string type; ///< of the exception that nobody caught
    std::string what;
    std::string where;
    std::string trace;
};

/// Keeps the pages alive: those of a lost nursery are still looked into while its workers are judged.
class page_view {
public:
    using time_point = std::chrono::steady_clock::time_point;

    /// Clears it: the worker that had it before is gone.
    page_view(std::shared_ptr<shared_pages> pages, std::uint32_t slot);

    /// Of the items that the worker may start now.
    std::uint32_t epoch() const noexcept { return epoch_; }
    /// Takes from the worker what it holds and has not claimed. Returns how many it has claimed in its life.
    std::uint32_t raise_epoch() noexcept;

    std::uint32_t started() const noexcept { return page_.started.load(std::memory_order_acquire); }
    std::uint32_t finished() const noexcept { return page_.finished.load(std::memory_order_acquire); }
    std::chrono::nanoseconds busy() const noexcept;
    /// What the worker says its number is; 0 before it takes items. For people: it may lie.
    int pid() const noexcept { return static_cast<int>(page_.pid.load(std::memory_order_acquire)); }
    /// Since when its present item runs; empty when none does.
    std::optional<time_point> running_since() const noexcept;
    /// When the last item that it started was started; empty when it has started none.
    std::optional<time_point> last_start() const noexcept;

    bool has_arena() const noexcept { return pages_->arenas() != nullptr; }
    /// Null: it has none, or it cannot be had now.
    arena* open_arena() const noexcept { return pages_->open_arena(slot_); }
    /// How far it is with arena::items. It may say anything.
    const std::atomic<std::uint64_t>& taken() const noexcept { return page_.taken; }
    /// How far we are with arena::results.
    void received(std::uint64_t position) const noexcept { page_.received.store(position, std::memory_order_release); }

    /// Once it is dead, if it told anything. Throws std::bad_alloc.
    std::optional<crash_report> crash() const;

    /// The end of what the item had printed that was started last, once the worker is dead. Throws std::bad_alloc.
    std::string printed() const;

    /// The whole replies that it has finished and not written, from `position` of its reply stream on. Empty when there
    /// are none, or they are on their way through the pipe. Throws std::bad_alloc.
    std::vector<std::byte> unwritten(std::uint64_t position) const;

private:
    time_point start_of_last() const noexcept;

    std::shared_ptr<shared_pages> pages_;
    page& page_;
    std::uint32_t slot_;
    std::uint32_t epoch_ = 0;
};

} // namespace cofork::detail
