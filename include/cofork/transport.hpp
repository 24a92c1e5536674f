#pragma once
// What carries the bytes between the program and its workers.

#include <asio/any_io_executor.hpp>

namespace cofork {

enum class transport_kind {
    ring,    ///< io_uring, one ring per execution context
    reactor, ///< Asio's own descriptors: where the kernel or a filter says no to io_uring, or COFORK_TRANSPORT=reactor
};

/// What carries the bytes in this executor's context now. The first question sets the ring up and tries it. A ring that
/// is refused later (a filter) gives way to the reactor, and nothing is lost.
transport_kind transport(const asio::any_io_executor& ex);

/// For anything with get_executor(): an io_context, a pool.
template <typename Context>
    requires requires(Context& c) { asio::any_io_executor{c.get_executor()}; }
transport_kind transport(Context& context)
{
    return transport(asio::any_io_executor{context.get_executor()});
}

/// "ring" or "reactor".
const char* to_string(transport_kind kind) noexcept;

} // namespace cofork
