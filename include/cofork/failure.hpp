#pragma once
// Why one item has no value, and the exception that carries it.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace cofork {

enum class failure_kind {
    exception,   ///< `f`, or the codec of its item or result, threw
    crashed,     ///< the worker ended while the item ran: a signal, or an exit of any status
    timeout,     ///< options::timeout passed; the worker was killed
    limit,       ///< it took more than it was allowed: failure::limit says of what
    protocol,    ///< the worker sent bytes that are not the protocol; it was killed
    cancelled,   ///< the call ended before the item did
    not_started, ///< no worker could be had for it
};

/// What of it was too much: failure_kind::limit.
enum class limited {
    none,        ///< another kind of failure
    result,      ///< options::max_result
    memory,      ///< policy::memory
    cpu,         ///< policy::cpu
    file_size,   ///< policy::file_size
    system_call, ///< a system call that the policy forbids
};

/// The name of a kind, as in the enumeration.
const char* to_string(failure_kind kind) noexcept;
const char* to_string(limited what) noexcept;

/// Why one item has no value. A plain value: copy it, log it, compare it.
struct failure {
    failure_kind kind = failure_kind::exception;
    std::size_t index = 0;  ///< of the item, counted from 0 in the order of the input
    std::string what{};     ///< text of the exception, or what happened; at most 16 KiB of it
    std::string type{};     ///< demangled type of a thrown exception; else empty
    int signal = 0;         ///< signal that ended the worker; 0 when none did
    int exit_code = -1;     ///< status that the worker exited with; -1 when it did not exit
    int pid = 0;            ///< of the worker; 0 when there was none
    unsigned attempts = 0;  ///< how often the item was started
    /// Of the last attempt, from its own start. In a call without a timeout, a pause, `slow` or events, what follows items of less
    /// than 128 ns may count up to seven items before it, too: to look at the clock for each would take as long as they do.
    std::chrono::nanoseconds elapsed{0};
    std::string backtrace{}; ///< crashed, timeout: where the worker was, a line per function, when it could tell
    std::uint64_t address = 0;   ///< that the signal was about: what could not be read, written or executed
    bool stack_overflow = false; ///< the stack was at its end
    limited limit = limited::none; ///< what it took too much of
    std::string output{};   ///< output_mode::capture: the last that the item wrote to stdout and stderr; at most 4 KiB

    friend bool operator==(const failure&, const failure&) = default;
};

/// One line for people: "item 17: crashed: signal 11 (SIGSEGV) at address 0x0 in parse (parse.cpp:42), worker 4711, attempt 3, after 12 ms".
std::string describe(const failure& why);

/// Thrown where a value was asked for and there is a failure instead.
class item_error : public std::runtime_error {
public:
    explicit item_error(failure why);

    const failure& why() const noexcept { return why_; }
    /// The same as why(): the word that outcome uses.
    const failure& error() const noexcept { return why_; }

private:
    failure why_;
};

} // namespace cofork
