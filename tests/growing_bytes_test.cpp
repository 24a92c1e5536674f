// Memory that grows: what was in it stays, wherever it comes from, and what was touched once is used again.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"

#include "growing_bytes.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

using namespace cofork::detail;

namespace {

constexpr std::size_t mib = std::size_t{1} << 20;
constexpr std::size_t most = 40 * mib;

// A sanitizer's realloc makes a new block of each step.
constexpr std::size_t small_step = test::forks_are_slow ? 15 * 4096 : 4096;

/// What is written, nowhere the same: each time another, lest what others have left be taken for it.
const std::byte* pattern()
{
    static const std::vector<std::uint64_t> words = [] {
        std::vector<std::uint64_t> made(most / 8 + 1000);
        for (std::uint64_t i = 0; i < made.size(); ++i)
            made[i] = i * 0x9e3779b97f4a7c15u;
        return made;
    }();
    static std::size_t calls = 0;
    return reinterpret_cast<const std::byte*>(words.data() + ++calls % 1000);
}

/// Grows to `size` in steps, announced or not, and looks whether all is there.
void grow(growing_bytes& bytes, std::size_t size, std::size_t step, bool announced)
{
    const std::byte* const all = pattern();
    while (bytes.size() < size) {
        const std::size_t n = std::min(step, size - bytes.size());
        if (bytes.spare() < n)
            bytes.reserve(bytes.size() + n, announced ? size : 0);
        REQUIRE(bytes.spare() >= n);
        std::memcpy(bytes.data() + bytes.size(), all + bytes.size(), n);
        bytes.grew(n);
    }
    CHECK(std::memcmp(bytes.data(), all, size) == 0);
}

} // namespace

TEST_CASE("what was there stays, however it grows", "[growing_bytes]")
{
    const bool huge = GENERATE(false, true);
    const bool announced = GENERATE(false, true);
    const std::size_t step = GENERATE(small_step, 3 * mib);
    CAPTURE(huge, announced, step);
    for (int round = 0; round < 3; ++round) { // from the second on in memory that others have had
        for (const std::size_t size : {std::size_t{100}, mib, 5 * mib, 17 * mib, 6 * mib, 33 * mib}) {
            growing_bytes bytes{huge};
            grow(bytes, size, step, announced);
            bytes.clear();
            grow(bytes, size / 2, step, announced);
        }
    }
    spare_mapping::drop();
}

TEST_CASE("the last large mapping is used again, and dropped when nobody needs it", "[growing_bytes]")
{
    spare_mapping::drop();
    spare_mapping::extent found;
    CHECK(spare_mapping::take(1, found) == nullptr);
    const void* where = nullptr;
    {
        growing_bytes bytes;
        grow(bytes, 8 * mib, mib, true);
        where = bytes.data();
    }
    {
        growing_bytes bytes;
        grow(bytes, 6 * mib, mib, true);
        CHECK(bytes.data() == where);
    }
    {
        growing_bytes larger; // the spare one is too small
        grow(larger, 20 * mib, mib, true);
    }
    void* const spare = spare_mapping::take(20 * mib, found);
    REQUIRE(spare);
    CHECK(found.mapped >= 20 * mib);
    CHECK(found.open >= 20 * mib);
    spare_mapping::give(spare, found);
    spare_mapping::drop();
    CHECK(spare_mapping::take(1, found) == nullptr);
    {
        growing_bytes huge; // more than is kept
        grow(huge, most, mib, true);
    }
    CHECK(spare_mapping::take(1, found) == nullptr);
}
