#pragma once
// The seccomp(2) filter of a policy.

#include "sandbox_rules.hpp"

#include <memory>
#include <string>

namespace cofork::detail {

/// Everything about a policy that can be made before the fork; null for one that asks for nothing. Throws std::system_error,
/// errc::invalid_options, for a system call of no such name or an amount that is negative.
std::shared_ptr<const sandbox_rules> make_rules(const policy& wanted);

/// The name of a system call, or its number as text.
std::string system_call_name(int number);

} // namespace cofork::detail
