#pragma once
// What happens in a run, a line each, when the environment has FUZZ_TRACE: to read what a finding's bytes mean.

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace fuzz {

inline const bool tracing = std::getenv("FUZZ_TRACE") != nullptr;

[[gnu::format(printf, 1, 2)]] inline void trace(const char* format, ...)
{
    if (!tracing)
        return;
    std::va_list arguments;
    va_start(arguments, format);
    std::vfprintf(stderr, format, arguments);
    va_end(arguments);
}

} // namespace fuzz
