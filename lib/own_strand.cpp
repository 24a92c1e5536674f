#include "own_strand.hpp"

#include <asio/execution/blocking.hpp>
#include <asio/io_context.hpp>
#include <asio/prefer.hpp>
#include <asio/strand.hpp>

#include <typeinfo>

namespace cofork::detail {

asio::any_io_executor own_strand(const asio::any_io_executor& ex)
{
    // Whether or not the program's executor would wait in execute() for what it is given, this one must not: callers hold locks.
    const asio::any_io_executor plain = asio::prefer(ex, asio::execution::blocking.possibly);
    // Of the type that it has as a rule: then it has room in an any_io_executor, and asks nothing through one. Else each use is half a
    // dozen allocations. Asio's target() does not look at the type itself (1.22).
    using loop_executor = asio::io_context::executor_type;
    if (plain.target_type() == typeid(loop_executor))
        return asio::make_strand(*plain.target<loop_executor>());
    return asio::make_strand(plain);
}

bool is_over_loop(const asio::any_io_executor& strand) noexcept
{
    return strand.target_type() == typeid(asio::strand<asio::io_context::executor_type>);
}

} // namespace cofork::detail
