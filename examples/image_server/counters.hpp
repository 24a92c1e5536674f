#pragma once
// What the server counts of itself; what its pool counts is in pool_stats.

#include "thumbs.hpp"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace image_server {

class counters {
public:
    void answered(int status, std::chrono::nanoseconds took) noexcept;
    std::uint64_t requests() const noexcept { return requests_; }

    /// As Prometheus reads it.
    std::string text(const thumbs& of, std::size_t connections) const;

private:
    /// Upper ends of the histogram of latencies, in seconds.
    static constexpr std::array<double, 10> ends{.0005, .001, .0025, .005, .01, .05, .1, .5, 1, 5};

    std::map<int, std::uint64_t> by_status_;
    std::array<std::uint64_t, ends.size()> by_latency_{};
    std::uint64_t requests_ = 0;
    std::chrono::nanoseconds sum_{0};
};

} // namespace image_server
