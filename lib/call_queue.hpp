#pragma once
// The calls that one place serves, each in its turn.

#include "call.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <vector>

namespace cofork::detail {

class call_queue {
public:
    bool empty() const noexcept { return calls_.empty(); }
    std::size_t size() const noexcept { return calls_.size(); }

    /// Its progress is told at once, and from then on when items were settled, and every 100 ms.
    void add(std::shared_ptr<call> c, clock::time_point now, unsigned busy);
    /// The call whose turn it is; the next time it is another's. Precondition: !empty().
    std::shared_ptr<call> next();

    void stop_all(const std::exception_ptr& why) noexcept;
    void stop_overdue(clock::time_point now);
    void report_progress(clock::time_point now, unsigned busy);
    /// Takes out one call that is over, after its last report; null when there is none.
    std::shared_ptr<call> take_over(clock::time_point now, unsigned busy);
    std::vector<std::shared_ptr<call>> take_all() noexcept;

    /// When the next of them has something to do, if nothing happens before.
    clock::time_point wakes(clock::time_point now) const;
    /// Items that were settled, of all calls that there ever were.
    std::uint64_t done() const noexcept;

private:
    std::deque<std::shared_ptr<call>> calls_; // the front is asked first
    std::uint64_t done_ = 0;                  // of those that are over
    clock::time_point next_progress_ = clock::time_point::max();
};

} // namespace cofork::detail
