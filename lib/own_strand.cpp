#include "own_strand.hpp"

#include <asio/io_context.hpp>
#include <asio/strand.hpp>

namespace cofork::detail {

asio::any_io_executor own_strand(const asio::any_io_executor& ex)
{
    // Of the type that it has as a rule: then it has room in an any_io_executor, and asks nothing through one. Else each use is half a
    // dozen allocations.
    if (const auto* const loop = ex.target<asio::io_context::executor_type>())
        return asio::make_strand(*loop);
    return asio::make_strand(ex);
}

} // namespace cofork::detail
