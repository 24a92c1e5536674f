#pragma once
// What many tests let workers do, and the items for it.

#include <chrono>
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

/// Computes for ever, as far as the compiler can see.
inline int computes_for_ever(int)
{
    for (volatile bool go_on = true; go_on;) {
    }
    return 0;
}

/// Computes for so long.
inline void spin_for(std::chrono::nanoseconds time)
{
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end)
        ;
}

/// An item that never ends.
inline int hangs(int)
{
    hang();
}

/// Items below 0 never end, all others are given back.
inline int hangs_or_gives(int x)
{
    if (x < 0)
        hang();
    return x;
}

/// 0, 1, ... n - 1.
template <typename Count>
std::vector<int> numbers(Count n)
{
    std::vector<int> all(static_cast<std::size_t>(n));
    std::iota(all.begin(), all.end(), 0);
    return all;
}

/// Differs everywhere: a piece that is lost, moved or sent twice changes the sum.
inline std::string letters(std::size_t size, unsigned seed = 1)
{
    std::string all(size, ' ');
    std::uint64_t x = seed * 2654435761u + 1;
    for (std::size_t at = 0; at < size; at += sizeof x) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        std::memcpy(all.data() + at, &x, std::min(sizeof x, size - at));
    }
    return all;
}

} // namespace test
