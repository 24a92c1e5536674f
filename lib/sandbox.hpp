#pragma once
// Shutting a worker in.

#include "sandbox_rules.hpp"

#include <cofork/policy.hpp>

#include <chrono>
#include <stdexcept>

#include <time.h>

namespace cofork::detail {

/// A part of the sandbox cannot be had here; the text says which and why.
class sandbox_unavailable : public std::runtime_error {
    using runtime_error::runtime_error;
};

/// Shuts this process in, for good. Returns what is on. Throws sandbox_unavailable, unless the policy says otherwise; from
/// `strict` on also when there are other threads.
protection enter_sandbox(const sandbox_rules& rules);

/// Ends this process by SIGXCPU when one item takes too much processor time. Without a limit nothing costs anything.
class cpu_alarm {
public:
    /// Takes the policy's amount, from `limits` on; null = none. To be made before enter_sandbox().
    explicit cpu_alarm(const sandbox_rules* rules);

    /// An item begins. False: this process has used so much in all that the kernel might end it in the middle.
    bool begin() noexcept;
    void end() noexcept;

private:
    void set(std::chrono::nanoseconds left) noexcept;

    std::chrono::nanoseconds limit_{0};
    std::chrono::nanoseconds most_{0}; // of this process
    timer_t timer_{};
};

} // namespace cofork::detail

#if defined(ASIO_DETAIL_CONFIG_HPP) || defined(LIB_URING_H)
#error "the child side must not depend on Asio or liburing"
#endif
