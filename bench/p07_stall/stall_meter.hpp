#pragma once
// How long a loop stands still: the longest time between two of its turns, without the time that others had its processor.

#include "../common/bench.h"

#include <asio/awaitable.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>

namespace bench {

/// A clock that stands while this thread is ready and has no processor.
class own_clock {
public:
    own_clock() : schedstat_{::open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC)} {}
    ~own_clock() { ::close(schedstat_); }
    own_clock(const own_clock&) = delete;
    own_clock& operator=(const own_clock&) = delete;

    std::int64_t now() const
    {
        char text[128] = {};
        if (::pread(schedstat_, text, sizeof text - 1, 0) <= 0)
            return bench_now();
        char* second = nullptr; // nanoseconds on a run queue: Documentation/scheduler/sched-stats
        std::strtoll(text, &second, 10);
        return bench_now() - std::strtoll(second, nullptr, 10);
    }

private:
    int schedstat_;
};

class stall_meter {
public:
    /// Turns the loop until `stop`.
    asio::awaitable<void> watch()
    {
        running_ = true;
        longest_ = 0;
        std::int64_t last = clock_.now();
        while (running_) {
            co_await asio::post(asio::use_awaitable);
            const std::int64_t now = clock_.now();
            longest_ = std::max(longest_, now - last);
            last = now;
        }
        ended_ = true;
    }

    /// Returns the longest stand-still since watch().
    asio::awaitable<std::int64_t> stop()
    {
        running_ = false;
        while (!std::exchange(ended_, false))
            co_await asio::post(asio::use_awaitable);
        co_return longest_;
    }

private:
    const own_clock clock_;
    bool running_ = false, ended_ = false;
    std::int64_t longest_ = 0;
};

} // namespace bench
