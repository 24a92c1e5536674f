#pragma once
// The strand on which a place works.

#include <asio/any_io_executor.hpp>

namespace cofork::detail {

/// A new strand over `ex`. What is given to its execute() runs at once where this thread runs the context and the strand is free,
/// else soon, as with asio::dispatch(); nobody waits for it.
asio::any_io_executor own_strand(const asio::any_io_executor& ex);
/// Whether a strand of own_strand() is over the executor of an io_context.
bool is_over_loop(const asio::any_io_executor& strand) noexcept;

} // namespace cofork::detail
