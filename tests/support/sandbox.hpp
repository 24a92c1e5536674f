#pragma once
// What the tests of the sandbox share: where they can run at all, and a policy of small amounts.

#include "catch.hpp"

#include <cofork/policy.hpp>

#include <cstddef>

#include <sys/syscall.h>
#include <unistd.h>

namespace test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
inline constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool sanitized = false;
#endif

inline void require_root_without_sanitizer()
{
    if (sanitized)
        SKIP("a sanitizer needs what the sandbox forbids");
    if (::geteuid() != 0)
        SKIP("some of the probes succeed only as root where nothing forbids them");
}

inline bool landlock_has_scopes()
{
    return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1 /* the version */) >= 6;
}

/// `level`, with little of everything.
inline cofork::policy small(cofork::containment level)
{
    cofork::policy p;
    p.level = level;
    p.memory = std::size_t{128} << 20;
    p.file_size = std::size_t{1} << 20;
    p.files = 64;
    p.processes = false;
    return p;
}

} // namespace test
