#pragma once
// The loop of wait(), and the loop of a pool that it may have to run as well.

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>

#include <vector>

namespace cofork::detail {

/// Runs a loop until it is told to end. While it exists, what is asked of a pool on this thread tells it the pool's context, which it
/// runs too: there may be nobody else to do it.
class driven_context {
public:
    explicit driven_context(asio::io_context& own);
    ~driven_context();
    driven_context(const driven_context&) = delete;
    driven_context& operator=(const driven_context&) = delete;

    void finished() noexcept { finished_ = true; }
    /// What other handlers of these loops throw leaves it when it has been told to end.
    void run();

    /// Something is asked of a pool, or of its stream, on this executor.
    static void involve(const asio::any_io_executor& pool);
    /// Whether it is the executor of a loop that such an object runs as its own, in whichever thread.
    static bool is_loop_of_wait(const asio::any_io_executor& ex) noexcept;

private:
    class watch;
    void run_others();

    asio::io_context& own_;
    std::vector<asio::io_context*> others_;
    driven_context* outer_;
    bool finished_ = false;
};

} // namespace cofork::detail
