#pragma once
// What becomes of an Asio descriptor in a fork of the process that opened it.

#include <asio/posix/stream_descriptor.hpp>

#include <unistd.h>

namespace cofork::detail {

/// Closes the number and keeps the object for ever. Its destructor would tell the reactor, which until
/// execution_context::notify_fork(fork_child) has the epoll instance of the original: that one would stop watching.
inline void close_copy(asio::posix::stream_descriptor& d) noexcept
{
    if (d.is_open())
        ::close(d.native_handle());
    (void)new (std::nothrow) asio::posix::stream_descriptor{std::move(d)};
}

} // namespace cofork::detail
