#pragma once
// The loop of wait(), and the loop of a pool that it may have to run as well.

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>

namespace cofork::detail {

/// Runs a loop until it is told to end. While it exists, a pool call that starts on this thread tells it the pool's
/// context, which it runs too: there may be nobody else to do it.
class driven_context {
public:
    explicit driven_context(asio::io_context& own);
    ~driven_context();
    driven_context(const driven_context&) = delete;
    driven_context& operator=(const driven_context&) = delete;

    void finished() noexcept { finished_ = true; }
    void run();

    /// A call starts in a pool on this executor.
    static void involve(const asio::any_io_executor& pool);

private:
    asio::io_context& own_;
    asio::io_context* other_ = nullptr;
    driven_context* outer_;
    bool finished_ = false;
};

} // namespace cofork::detail
