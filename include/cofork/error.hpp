#pragma once
// What can go wrong with a call as a whole, as std::error_code.

#include <system_error>

namespace cofork {

/// Why a whole call failed. One item's failure is a `failure` instead.
enum class errc {
    threads_running = 1, ///< a snapshot was asked for while other threads run: they may hold locks
    spawn_failed,        ///< not one worker could be started (fork, pipe or descriptor limits)
    nursery_lost,        ///< the process that forks the workers was killed from outside
    pool_closed,         ///< the pool was closed or destroyed before the call ended
    deadline,            ///< options::deadline passed
    boot_failed,         ///< workers of the pool die or throw before their first item (pool_options::init)
    invalid_options,     ///< an option that no place could honour; the text names it
    callback_threw,      ///< options::on_error or options::progress threw (where the error is an error_code)
    nested_too_deep,     ///< a worker of a worker of ... asked for workers, beyond the documented depth
    overloaded,          ///< the pool serves pool_options::max_calls already, and more are not to wait
    forked_copy,         ///< the pool was made by a process that this one is a fork of
};

/// The category of `errc`, named "cofork". Each message says what to do about it.
const std::error_category& error_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept
{
    return {static_cast<int>(e), error_category()};
}

} // namespace cofork

template <>
struct std::is_error_code_enum<cofork::errc> : std::true_type {};
