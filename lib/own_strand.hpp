#pragma once
// The strand on which a place works.

#include <asio/any_io_executor.hpp>

namespace cofork::detail {

/// A new strand over `ex`.
asio::any_io_executor own_strand(const asio::any_io_executor& ex);

} // namespace cofork::detail
