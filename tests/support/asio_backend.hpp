#pragma once
// What Asio itself waits with.

#include <asio/detail/config.hpp>

namespace test {

#ifdef ASIO_HAS_IO_URING_AS_DEFAULT
/// Then Asio has nothing else: where io_uring is forbidden it cannot wait; it submits only when its loop turns; and a fork of the
/// program that destroys its copy of an io_context does so through the ring of the original.
inline constexpr bool asio_waits_by_ring = true;
#else
inline constexpr bool asio_waits_by_ring = false;
#endif

} // namespace test
