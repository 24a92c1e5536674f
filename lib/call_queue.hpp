#pragma once
// The calls that one place serves, each in its turn, and those that wait to be served.

#include "call.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

namespace cofork::detail {

class call_queue {
public:
    /// At most so many are served at once; 0 = any number.
    explicit call_queue(std::size_t most) noexcept : most_{most} {}

    bool empty() const noexcept { return served_.empty() && waiting_.empty(); }
    std::size_t served() const noexcept { return served_.size(); }
    std::size_t waiting() const noexcept { return waiting_.size(); }
    bool full() const noexcept { return most_ > 0 && served_.size() >= most_; }

    /// Its progress is told at once, and from then on when items were settled, and every 100 ms.
    void add(std::shared_ptr<call> c, clock::time_point now);

    /// Offers a worker to one call after the other, the highest priority first, those of one priority in turn, as long as
    /// somebody takes one: `offer(call)` says whether it did.
    template <typename Offer>
    void offer(Offer&& offer_to);

    template <typename Predicate>
    bool any_served(Predicate&& is) const
    {
        return std::ranges::any_of(served_, [&](const std::shared_ptr<call>& c) { return is(*c); });
    }
    /// One call is served, and `c`, which comes now, is in turn with it or comes before it.
    bool is_in_turn(const call& c) const noexcept
    {
        return served_.size() == 1 && !full() && c.opts().priority >= served_.front()->opts().priority;
    }

    void stop_all(const std::exception_ptr& why) noexcept;
    void stop_overdue(clock::time_point now);
    /// `serving(call)`: how many workers run its items.
    void report_progress(clock::time_point now, const std::function<unsigned(const call&)>& serving);
    /// Takes out one call that is over, after its last report; null when there is none. Another is served in its place.
    std::shared_ptr<call> take_over();
    std::vector<std::shared_ptr<call>> take_all() noexcept;

    /// When the next of them has something to do, if nothing happens before.
    clock::time_point wakes(clock::time_point now) const;
    /// Items of the calls that are served that wait for a worker, as far as is known.
    std::size_t queued() const noexcept;

private:
    using line = std::deque<std::shared_ptr<call>>;

    static line::iterator behind(line& calls, int priority);
    std::shared_ptr<call> take_over_from(line& calls);

    std::size_t most_;
    line served_;  // the highest priority first; of one priority, who comes next
    line waiting_; // likewise
    clock::time_point next_progress_ = clock::time_point::max();
};

template <typename Offer>
void call_queue::offer(Offer&& offer_to)
{
    for (std::size_t first = 0; first < served_.size();) {
        const int priority = served_[first]->opts().priority;
        const auto end = behind(served_, priority);
        const auto begin = served_.begin() + static_cast<std::ptrdiff_t>(first);
        const auto equals = static_cast<std::size_t>(end - begin);
        for (std::size_t refusals = 0; refusals < equals;) {
            const std::shared_ptr<call> next = *begin;
            std::rotate(begin, begin + 1, end);
            refusals = offer_to(next) ? 0 : refusals + 1;
        }
        first += equals;
    }
}

} // namespace cofork::detail
