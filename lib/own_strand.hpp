#pragma once
// The strand on which a place works.

#include <asio/any_io_executor.hpp>

namespace cofork::detail {

/// A new strand over `ex`. What is given to its execute() runs at once where this thread runs the context and the strand is free,
/// else soon, as with asio::dispatch(); nobody waits for it.
asio::any_io_executor own_strand(const asio::any_io_executor& ex);

} // namespace cofork::detail
