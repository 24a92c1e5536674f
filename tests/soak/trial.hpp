#pragma once
// One call that is to be cut short, in one of the forms that a call can have, and how it ended.

#include "checks.hpp"

#include "ledger.hpp"

#include "../support/leaves_nothing.hpp"

#include <cofork/outcome.hpp>
#include <cofork/pool.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <system_error>
#include <vector>

namespace soak {

/// ThreadSanitizer has a thread of its own, which a fork of the moment and a pool are refused for: this allows them.
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
inline constexpr bool under_tsan = true;
#else
inline constexpr bool under_tsan = false;
#endif

/// Numbers for trials: each is one trial's for as long as the table lasts. How often the item with that number was started.
using start_counts = shared_array<std::atomic<std::uint8_t>>;
extern const start_counts* trial_starts;

class trial {
public:
    static constexpr std::size_t most_items = 12;

    /// Its items are numbers from `first` on.
    trial(std::size_t first, std::uint64_t random);
    trial(const trial&) = delete;
    trial& operator=(const trial&) = delete;

    /// In the pool, or in a fork of the moment when there is none. Its handler runs on `ex`, and calls `then`. The pool is
    /// not held: a coroutine that begins when it is gone says that it was closed.
    void start(const asio::any_io_executor& ex, const std::shared_ptr<cofork::pool>& pool, std::function<void()> then = {});
    /// On `ex`.
    void cancel();

    [[nodiscard]] bool over() const { return times_ > 0; }
    [[nodiscard]] bool completed() const { return over() && !why_; }

    /// It has ended once, with all its values, or with an error that it may have; no item was started twice.
    void judge(bool was_closed) const;
    /// Its context was destroyed: it has ended at most once, and nothing of it is left.
    void judge_dropped() const;

    /// Coroutines of trials that have begun and whose frame has not been destroyed.
    static int frames();

private:
    enum class form : std::uint8_t { handler, collected, coroutine, stream, count };

    using numbers = std::vector<int>;
    template <typename Place, typename Here>
    void start_by_handler(Place& place, Here here);
    asio::awaitable<numbers> collect(std::weak_ptr<cofork::pool> pool, bool in_pool) const;
    asio::awaitable<numbers> read(std::weak_ptr<cofork::pool> pool, bool in_pool) const;

    [[nodiscard]] cofork::options wishes() const;
    void ended(const std::exception_ptr& error, const numbers& values);
    void ended(std::error_code why, const std::vector<cofork::outcome<int>>& outcomes);
    void over_with(std::error_code why);
    void judge_starts() const;

    const std::uint64_t random_;
    const form form_;
    numbers items_;
    asio::cancellation_signal signal_;
    bool cancelled_ = false;
    std::error_code why_;
    std::function<void()> then_;
    std::atomic<int> times_{0};
};

} // namespace soak
