#pragma once
// Tells the parent, from inside a crash, what crashed where.

#include "crash_facts.hpp"

namespace cofork::detail {

/// Loads what walking a stack needs. Once, before the fork: a crash is no time to load a library.
void prepare_crash_handler() noexcept;

/// From now on a signal that would kill this process with a core dump writes `into` first, on a stack of its own that
/// exists already, without allocating, and then kills it all the same. So does std::terminate.
///
/// A thread that f starts has no such stack of its own: when it overflows its stack, it dies without a word.
void install_crash_handler(crash_facts& into) noexcept;

/// Tells why this process is about to exit.
void note_reason(const char* text) noexcept;

/// The signal that asks where a process is: it writes the facts and kills itself.
int question_signal() noexcept;
/// Asks a worker where it is; it goes on.
int look_signal() noexcept;

} // namespace cofork::detail
