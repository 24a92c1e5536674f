#pragma once
// A policy, made ready for the worker that carries it out: no step of it needs a library there.

#include <cofork/policy.hpp>

#include <vector>

#include <linux/filter.h>

namespace cofork::detail {

struct sandbox_rules {
    policy wanted;
    std::vector<sock_filter> filter; ///< when filters(wanted): see system_call_filter.hpp
};

inline bool filters(const policy& wanted) noexcept
{
    return wanted.level >= containment::strict || (wanted.level == containment::limits && !wanted.processes);
}

/// Stands in the filter for the number of the worker, which nobody knows yet when the filter is made.
inline constexpr unsigned own_pid_placeholder = 0x7e11'0c0f;

} // namespace cofork::detail
