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

class stall_meter {
public:
    stall_meter() : schedstat_{::open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC)} {}
    ~stall_meter() { ::close(schedstat_); }
    stall_meter(const stall_meter&) = delete;
    stall_meter& operator=(const stall_meter&) = delete;

    /// Turns the loop until `stop`.
    asio::awaitable<void> watch()
    {
        running_ = true;
        longest_ = 0;
        std::int64_t last = bench_now(), last_waited = waited_for_processor();
        while (running_) {
            co_await asio::post(asio::use_awaitable);
            const std::int64_t now = bench_now(), waited = waited_for_processor();
            longest_ = std::max(longest_, now - last - (waited - last_waited));
            last = now;
            last_waited = waited;
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
    /// Nanoseconds that this thread was ready and had no processor: second field, Documentation/scheduler/sched-stats.
    std::int64_t waited_for_processor() const
    {
        char text[128] = {};
        if (::pread(schedstat_, text, sizeof text - 1, 0) <= 0)
            return 0;
        char* second = nullptr;
        std::strtoll(text, &second, 10);
        return std::strtoll(second, nullptr, 10);
    }

    int schedstat_;
    bool running_ = false, ended_ = false;
    std::int64_t longest_ = 0;
};

} // namespace bench
