#pragma once
// What a worker leaves in its page when it dies of something that it can notice.

#include <atomic>
#include <cstdint>

namespace cofork::detail {

/// Written by the worker in the middle of its crash, and named by the symboliser. The parent reads it like anything else
/// that a worker may have made up.
struct crash_facts {
    static constexpr std::uint32_t most_frames = 48;

    /// 0: nothing. 1: all that is known without walking the stack. 2: the frames, too.
    std::atomic<std::uint32_t> stage;
    std::int32_t signal;
    std::uint64_t address;        ///< the one that could not be reached or executed
    std::uint64_t pc;             ///< where the program was
    std::uint32_t has_address;
    std::uint32_t stack_overflow;
    std::uint32_t depth;          ///< of `frames`
    std::uint32_t system_call;    ///< of a SIGSYS, plus 1; 0: not known
    std::uint64_t frames[most_frames]; ///< return addresses, from the signal handler outwards
    char type[256];               ///< of the exception that nobody caught; mangled
    char what[512];               ///< its text

    // By the symboliser. Terminated by a zero.
    char where[256];      ///< one line: where in the program it was
    char trace[6 * 1024]; ///< a line per frame
};

} // namespace cofork::detail
