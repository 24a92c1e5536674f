#pragma once
// The places of one execution context, so that destroying the context ends their processes.

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>

#include <memory>
#include <mutex>
#include <vector>

namespace cofork::detail {

/// Somewhere calls are in progress.
class registered_place {
public:
    /// The context is being destroyed: ends all processes and lets go of handlers, timers and executors, calling nobody.
    virtual void context_ended() noexcept = 0;

protected:
    ~registered_place() = default;
};

/// A context may be destroyed while calls are in progress. Their handlers hold coroutine frames, which hold what
/// holds the handlers: a cycle that only the context's end can break.
class place_registry final : public asio::execution_context::service {
public:
    using key_type = place_registry;
    static inline asio::execution_context::id id;

    explicit place_registry(asio::execution_context& context) : service{context} {}

    /// Any thread.
    static void enlist(const asio::any_io_executor& ex, std::weak_ptr<registered_place> place);

private:
    void shutdown() noexcept override;

    std::mutex mutex_;
    std::vector<std::weak_ptr<registered_place>> places_;
};

} // namespace cofork::detail
