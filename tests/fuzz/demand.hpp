#pragma once
// What must hold. Ends the process when it does not, with or without NDEBUG: that is how a fuzzer learns of it.

#include <cstdio>
#include <cstdlib>

namespace fuzz {

inline void demand(bool holds, const char* what)
{
    if (holds)
        return;
    std::fprintf(stderr, "does not hold: %s\n", what);
    std::abort();
}

} // namespace fuzz
