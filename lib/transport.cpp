#include <cofork/transport.hpp>

#include "ring.hpp"

#include <asio/execution/context.hpp>
#include <asio/query.hpp>

namespace cofork {

transport_kind transport(const asio::any_io_executor& ex)
{
    const bool by_ring = detail::ring_of(asio::query(ex, asio::execution::context))->usable();
    return by_ring ? transport_kind::ring : transport_kind::reactor;
}

const char* to_string(transport_kind kind) noexcept
{
    return kind == transport_kind::ring ? "ring" : "reactor";
}

} // namespace cofork
