#pragma once
// A call's job, and everything that must be true of it: who started which item when, and what its caller heard.

#include "../input.hpp"
#include "machine.hpp"

#include "call.hpp"
#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace fuzz {

enum class fate : std::uint8_t;

class fake_call final : public job {
public:
    /// `number`: its place among the machine's calls.
    fake_call(input& from, std::uint8_t number, bool snapshot);

    const cofork::options& opts() const noexcept { return options_; }
    void serve(std::shared_ptr<call> handle) { handle_ = std::move(handle); }

    // The consumer.

    void push(unsigned items);
    void close_feed();
    /// Takes unread outcomes, and waits for the next.
    void read(unsigned most);
    void cancel(bool kill);
    /// A stream is destroyed.
    void drop();
    /// Something else than the call itself may have ended it.
    void excuse() noexcept { excused_ = true; }
    bool over() const noexcept { return finished_ || abandoned_; }
    bool unread() const noexcept { return unread_ > 0; }

    // The workers.

    void item_started(std::uint64_t index, const fake_worker& by, bool honest);
    void item_answered(std::uint64_t index, reply_kind kind, fate what);
    /// Its answer is where the parent must find it, whatever becomes of the worker.
    void item_safe(std::uint64_t index);

    // The job.

    work* inherited() noexcept override { return nullptr; }
    byte_view captures() const noexcept override { return {&number_, 1}; }
    bool by_index() const noexcept override { return by_index_; }
    std::optional<std::size_t> size() const override;
    pulled pull(encoded_items& out) override;
    std::size_t room(std::size_t chosen_window) override;
    bool over_when_idle() override;
    std::uint32_t deliver(std::uint64_t first, const result_run& results) override;
    bool deliver(cofork::failure why) override;
    void finish(std::exception_ptr why) noexcept override;
    void abandon() noexcept override;

private:
    struct item {
        unsigned starts = 0;
        unsigned failures = 0; ///< that were told to on_error
        bool settled = false;
        bool safe = false; ///< the answer of the last start cannot be lost any more
        std::optional<cofork::failure_kind> expected; ///< of the last start: what its worker answered
        bool valid = false;                           ///< of the last start: it answered with a value
        clock::time_point started{};
    };

    void choose(input& from);
    void on_error(const cofork::failure& why);
    void deliver_one(std::uint64_t index, byte_view result);
    void settle(std::uint64_t index);
    void check_failure(const item& one, const cofork::failure& why) const;
    item& at(std::uint64_t index);
    bool strict() const noexcept { return !machine::here().liars; }

    std::byte number_;
    cofork::options options_;
    std::shared_ptr<call> handle_;
    bool by_index_ = false;
    bool sized_ = false;
    bool stream_ = false;
    bool goes_on_ = true;     ///< a failed item does not end the call
    std::size_t throws_at_;   ///< the range throws instead of giving this item
    bool callback_throws_ = false;

    std::vector<item> items_;
    std::size_t available_ = 0; ///< of the input; a feed gets more
    bool open_ = false;         ///< the feed is not closed
    std::size_t pulled_ = 0;
    std::size_t settled_ = 0;
    std::size_t unread_ = 0;
    std::size_t asked_window_ = 0;
    bool waiting_ = true; ///< the consumer waits for the next outcome
    bool stalled_ = false;
    bool starved_ = false;
    std::optional<std::size_t> ended_with_; // items that there were when it was last said that no more will come
    std::optional<clock::time_point> last_start_;
    clock::time_point begun_ = machine::now();
    bool failed_ = false;
    bool excused_ = false;
    bool finished_ = false;
    bool abandoned_ = false;
};

} // namespace fuzz
