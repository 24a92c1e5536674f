#pragma once
// What many tests let workers do, and the items for it.

#include <cstddef>
#include <numeric>
#include <vector>

#include <unistd.h>

namespace test {

inline int square(int x) noexcept
{
    return x * x;
}

inline int twice(int x) noexcept
{
    return 2 * x;
}

/// Blocks for ever, as far as the program can see.
[[noreturn]] inline void hang()
{
    for (;;)
        ::pause();
}

/// 0, 1, ... n - 1.
template <typename Count>
std::vector<int> numbers(Count n)
{
    std::vector<int> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

} // namespace test
