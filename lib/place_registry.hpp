#pragma once
// The places of one execution context, so that destroying the context ends their processes.

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>

#include <memory>
#include <mutex>
#include <vector>

namespace cofork::detail {

class dispatcher;

/// A context may be destroyed while calls are in progress. Their handlers hold coroutine frames, which hold what
/// holds the handlers: a cycle that only the context's end can break.
class place_registry final : public asio::execution_context::service {
public:
    using key_type = place_registry;
    static inline asio::execution_context::id id;

    explicit place_registry(asio::execution_context& context) : service{context} {}

    /// Any thread.
    static void enlist(const asio::any_io_executor& ex, std::weak_ptr<dispatcher> place);

private:
    void shutdown() noexcept override;

    std::mutex mutex_;
    std::vector<std::weak_ptr<dispatcher>> places_;
};

} // namespace cofork::detail
