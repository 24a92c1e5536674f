#include <cofork/transport.hpp>

#include "ring.hpp"

namespace cofork {

transport_kind transport(const asio::any_io_executor& ex)
{
    return detail::ring_service::of(ex).usable(ex) ? transport_kind::ring : transport_kind::reactor;
}

const char* to_string(transport_kind kind) noexcept
{
    return kind == transport_kind::ring ? "ring" : "reactor";
}

} // namespace cofork
