#pragma once
// What the workers of a place are for, and how long they stay.

#include "sandbox_rules.hpp"

#include <cofork/detail/job.hpp>
#include <cofork/detail/state_maker.hpp>
#include <cofork/options.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace cofork::detail {

/// What is saved by not sleeping is microseconds: more is a slip of the pen.
inline constexpr std::chrono::milliseconds longest_spin{10};

/// The pointers are to objects of the program that its nursery inherits.
struct worker_life {
    work* inherited = nullptr;    ///< what a snapshot runs; null in a pool
    state_maker* state = nullptr; ///< null: none
    state_ender* ender = nullptr; ///< null: the state ends with the process
    std::int64_t idle_ns = 0;     ///< it ends after so long without work; 0 = never
    std::size_t max_growth = 0;   ///< bytes: it ends when its resident memory has grown by more; 0 = never
    const sandbox_rules* rules = nullptr; ///< null: those of every worker alone
    output_mode output = output_mode::inherit;
    std::int64_t spin_ns = 0;     ///< so long it looks for more work before it sleeps
};

} // namespace cofork::detail
