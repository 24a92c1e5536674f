#pragma once
// What a ring can do, tried out on it.

struct io_uring; // <liburing.h>

namespace cofork::detail {

/// A write to a broken pipe gives EPIPE without the signal (Linux 6.18; not in the headers of Debian 12).
inline constexpr int rwf_nosignal = 0x100;

struct ring_abilities {
    bool submits = false;   ///< a filter may let io_uring_setup pass and forbid io_uring_enter: only a submission tells
    bool no_signal = false; ///< rwf_nosignal is known
};

/// Precondition: nothing is in the queues, and nothing is afterwards.
ring_abilities probe(::io_uring& queues) noexcept;

} // namespace cofork::detail
