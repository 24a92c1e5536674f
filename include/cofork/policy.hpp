#pragma once
// What workers may do, and how much of it.

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace cofork {

/// How far a worker is shut in. Each level has what the one before it has.
enum class containment {
    hygiene,  ///< against accidents: no descriptors, signals, timers, terminal or io_uring memory of the program; it ends with it
    limits,   ///< policy's amounts, no new privileges (setuid programs, prctl(2)), not traceable
    strict,   ///< for untrusted items: landlock(7) and a seccomp(2) filter. No files but `readable`, no network, no new
              ///< programs, processes or threads, no signals to others, no io_uring
    isolated, ///< network and IPC namespaces of its own; as root, another user (65534)
};

/// What happens when the kernel, a filter around the program, or the build lacks a part of what was asked for.
enum class if_unavailable {
    refuse,  ///< calls fail with errc::boot_failed and a text that names the part
    degrade, ///< workers run without it: pool::enforced() tells what is there
};

/// What a worker may do from its first item on. pool_options::init runs before that, and may open files, load libraries
/// and connect; pool_options::fini runs inside. What init leaves open is f's to use. From `strict` on it must leave no
/// threads running, because the kernel shuts in only the thread that asks, and no io_uring with IORING_SETUP_SQPOLL, which
/// has one: workers whose init does count as unavailable (`missing`). Below, no new privileges holds for the thread of f and
/// those that it starts.
///
/// The amounts count from `containment::limits` on. Memory is what the worker takes beyond what it has before its first
/// item: RLIMIT_DATA (getrlimit(2)) counts the private writable kind, so shared mappings are outside it below `strict`,
/// which forbids them.
///
/// An item that reaches an amount fails with failure_kind::limit, and failure::limit says which. With `memory` f sees
/// std::bad_alloc first, and may handle it; code that does not look at what malloc(3) returns crashes.
struct policy {
    containment level = containment::hygiene;
    std::size_t memory = std::size_t{1} << 30;    ///< bytes; 0 = any amount
    std::chrono::nanoseconds cpu{0};              ///< processor time of one item; 0 = any
    std::size_t file_size = std::size_t{1} << 30; ///< bytes that a file may be written to, stdout included; 0 = any
    unsigned files = 256;                         ///< descriptors open at once; 0 = any number
    bool processes = true;        ///< limits: f may start processes and threads, any number of them (the kernel counts
                                  ///< those of a user, not those of a process, and root's not at all)
    std::vector<std::string> readable{};     ///< strict: folders and files that f may open for reading
    std::vector<std::string> system_calls{}; ///< strict: names of more that are allowed, as "clone3"
    if_unavailable missing = if_unavailable::refuse;
};

/// What is really on in a worker, a set combined with `|`: each part was tried out there.
enum class protection : unsigned {
    none = 0,
    amounts = 1,        ///< the limits of policy
    no_privileges = 2,  ///< no new privileges, not traceable
    files = 4,          ///< landlock: files
    signals = 8,        ///< landlock: signals and abstract sockets of processes outside (Linux 6.12)
    system_calls = 16,  ///< seccomp
    namespaces = 32,    ///< network and IPC
    user = 64,          ///< another user, or none outside a namespace of its own
};

constexpr protection operator|(protection a, protection b) noexcept
{
    return static_cast<protection>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
constexpr protection operator&(protection a, protection b) noexcept
{
    return static_cast<protection>(static_cast<unsigned>(a) & static_cast<unsigned>(b));
}
/// Whether all of `part` is in `all`.
constexpr bool has(protection all, protection part) noexcept
{
    return (all & part) == part;
}

} // namespace cofork
