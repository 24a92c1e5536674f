#pragma once
// REQUIRE, CHECK and FAIL for tests/support, which is written for Catch2: here there is no test case, but a run with
// figures. Include it before anything of tests/support.

#ifndef CATCH_CONFIG_PREFIX_ALL
#define CATCH_CONFIG_PREFIX_ALL // Catch2 keeps its own macros under other names
#endif

#include <sstream>
#include <string>

namespace soak {

/// Counts a figure that was missed, and says which, on standard error and for the summary. Any process of the run.
void complain(const std::string& what);

/// The same, and ends this process: there is nothing to go on with.
[[noreturn]] void give_up(const std::string& what);

inline std::string place_of(const char* what, const char* file, int line)
{
    return std::string{what} + " (" + file + ":" + std::to_string(line) + ")";
}

} // namespace soak

#define REQUIRE(...)                                                                                                   \
    ((__VA_ARGS__) ? void() : ::soak::give_up(::soak::place_of("is false: " #__VA_ARGS__, __FILE__, __LINE__)))
#define CHECK(...)                                                                                                     \
    ((__VA_ARGS__) ? void() : ::soak::complain(::soak::place_of("is false: " #__VA_ARGS__, __FILE__, __LINE__)))
#define FAIL(text)                                                                                                     \
    do {                                                                                                               \
        std::ostringstream message;                                                                                    \
        message << text;                                                                                               \
        ::soak::give_up(message.str());                                                                                \
    } while (false)
