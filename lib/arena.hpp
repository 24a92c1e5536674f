#pragma once
// Memory that the parent shares with one worker for the bytes of large items and results.

#include <cstddef>

namespace cofork::detail {

/// To copy bytes here takes a fraction of what a pipe does. Each half is used from its begin to its end and again, by positions
/// that only grow; who reads says in the page how far he is. The parent only reads results, into memory of its own, and only
/// writes items. What the worker says is a hint from a process that may be hostile: it spoils its own items only.
struct arena {
    std::byte items[std::size_t{4} << 20];
    std::byte results[std::size_t{1} << 20];
};

/// So many bytes of an item or a result are large.
inline constexpr std::size_t least_large = 64 * 1024;
/// So many of them go at once, a MiB and what it is part of: a loop has time for that.
inline constexpr std::size_t most_at_once = (std::size_t{1} << 20) + 4096;

} // namespace cofork::detail
