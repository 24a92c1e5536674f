#pragma once
// Calling a handler the way Asio asks for: once, on its executor, with its allocator, never from inside the
// initiating function.

#include <cofork/detail/place.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>

#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

namespace cofork::detail {

/// A handler with its arguments.
template <typename Handler, typename... Args>
struct bound_completion {
    using allocator_type = asio::associated_allocator_t<Handler>;

    Handler handler;
    std::tuple<Args...> args;

    allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
    void operator()()
    {
        std::apply([this](Args&... a) { std::move(handler)(std::move(a)...); }, args);
    }
};

/// What is posted to the I/O executor. Not posted to the handler's own executor at once: with use_future that is the
/// system executor, and a post would start its thread pool, after which this process cannot be forked safely.
template <typename Handler, typename Executor, typename... Args>
struct posted_completion {
    using allocator_type = asio::associated_allocator_t<Handler>;

    bound_completion<Handler, Args...> bound;
    asio::executor_work_guard<Executor> guard; // on the handler's executor, until the handler is there

    allocator_type get_allocator() const noexcept { return bound.get_allocator(); }
    void operator()()
    {
        const Executor ex = guard.get_executor();
        asio::dispatch(ex, std::move(bound));
        guard.reset();
    }
};

/// Holds a handler, and both executors' contexts at work, until it is completed or dropped.
template <typename Handler>
class held_handler {
    using executor = asio::associated_executor_t<Handler, asio::any_io_executor>;

public:
    held_handler(Handler handler, const asio::any_io_executor& io)
        : handler_{std::move(handler)}, io_{io}, io_guard_{io}, guard_{asio::get_associated_executor(handler_, io)}
    {
    }

    template <typename... Args>
    void complete(Args... args)
    {
        // Everything of this operation is released before the handler runs; only the handler goes on.
        posted_completion<Handler, executor, Args...> posted{
            {std::move(handler_), std::tuple<Args...>{std::move(args)...}}, std::move(guard_)};
        auto io_guard = std::move(io_guard_);
        asio::post(io_, std::move(posted));
    }

    Handler& handler() noexcept { return handler_; }

private:
    Handler handler_;
    asio::any_io_executor io_;
    asio::executor_work_guard<asio::any_io_executor> io_guard_;
    asio::executor_work_guard<executor> guard_;
};

/// Passes cancellation from a handler's slot to a call that starts a moment later. Any thread.
class canceller {
public:
    void started(std::weak_ptr<call_handle> call) noexcept
    {
        const std::lock_guard lock{mutex_};
        call_ = std::move(call);
        if (asked_)
            tell(*asked_);
    }

    void cancel(asio::cancellation_type type) noexcept
    {
        const std::lock_guard lock{mutex_};
        asked_ = type;
        tell(type);
    }

private:
    void tell(asio::cancellation_type type) noexcept
    {
        if (const auto call = call_.lock())
            call->cancel((type & asio::cancellation_type::terminal) != asio::cancellation_type::none);
    }

    std::mutex mutex_;
    std::weak_ptr<call_handle> call_;
    std::optional<asio::cancellation_type> asked_;
};

/// Connects the handler's cancellation slot, when it has one, to `to`.
template <typename Handler>
void listen_to_slot(Handler& handler, const std::shared_ptr<canceller>& to)
{
    auto slot = asio::get_associated_cancellation_slot(handler);
    if (slot.is_connected())
        slot.assign([to](asio::cancellation_type type) { to->cancel(type); });
}

} // namespace cofork::detail
