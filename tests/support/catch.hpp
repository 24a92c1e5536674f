#pragma once
// Catch2 for every test program: version 3, or 2.13 where that is all there is (Debian 12 without backports).

#if __has_include(<catch2/catch_all.hpp>)

#include <catch2/catch_all.hpp>

#else

#include <catch2/catch.hpp>

#include <string>

namespace test {

inline bool skipped = false; ///< a test case of this program called SKIP

} // namespace test

namespace Catch::Matchers {

inline auto ContainsSubstring(const std::string& text)
{
    return Contains(text);
}

} // namespace Catch::Matchers

/// Ends the test case, which is then neither passed nor failed. Catch2 has it from 3.3; here only for the test's own
/// function, as it returns from it.
#define SKIP(reason)                                                                                                   \
    do {                                                                                                               \
        test::skipped = true;                                                                                          \
        WARN(reason);                                                                                                  \
        return;                                                                                                        \
    } while (false)

#endif
