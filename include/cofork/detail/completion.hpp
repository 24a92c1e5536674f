#pragma once
// Calling a handler the way Asio asks for: once, on its executor, with its allocator, never from inside the
// initiating function.

#include <cofork/detail/blocks.hpp>
#include <cofork/detail/place.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/cancellation_type.hpp>
#include <asio/dispatch.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/prefer.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <tuple>
#include <utility>

namespace cofork::detail {

class completion;

struct drop_completion {
    void operator()(completion* c) const noexcept;
};
using owned_completion = std::unique_ptr<completion, drop_completion>;

/// A handler that waits for its arguments, as what is compiled once for all of them. Holds both executors' contexts at work, until
/// it runs or is dropped.
class completion {
public:
    using io_guard = asio::executor_work_guard<asio::any_io_executor>;

    completion(const completion&) = delete;
    completion& operator=(const completion&) = delete;

    asio::any_io_executor io() const noexcept { return io_.get_executor(); }
    io_guard take_io() noexcept { return std::move(io_); }
    /// Runs it on the handler's executor, at once or soon. `beside`: not from inside of the caller.
    virtual void dispatch(owned_completion self, bool beside) = 0;
    /// Frees this, then calls the handler.
    virtual void run() = 0;
    /// Frees this.
    virtual void drop() noexcept = 0;

protected:
    explicit completion(const asio::any_io_executor& io);
    ~completion();

private:
    io_guard io_;
};

inline void drop_completion::operator()(completion* c) const noexcept
{
    c->drop();
}

struct completion_runner {
    owned_completion what;

    void operator()() { what.release()->run(); }
};

/// What a handler is given to. It may run in another thread before that returns, be the last that its context waits for, and let that
/// go. So it counts as work until nothing is touched any more; but the loop of wait() does not end by running out of work.
template <typename Executor>
auto outlasting(const Executor& ex)
{
    return asio::prefer(ex, asio::execution::outstanding_work.tracked);
}
asio::any_io_executor outlasting(const asio::any_io_executor& ex);

/// Posts to the I/O executor what dispatches `c`. Not posted to the handler's own executor at once: with use_future that is the
/// system executor, and a post would start its thread pool, after which this process cannot be forked safely.
void post_completion(owned_completion c);
/// Whether what this thread posts from now on has to run beside what runs on the I/O executor then, and not from inside of it. Returns
/// what was so before.
bool complete_beside(bool now) noexcept;
/// Has `c` run on `ex`, which is outlasting() and not in `c`.
void dispatch_completion(const asio::any_io_executor& ex, owned_completion c, bool beside);

/// In memory of the handler's allocator.
template <typename Handler, typename... Args>
class bound_completion final : public completion {
    using allocator = asio::associated_allocator_t<Handler>;
    using executor = asio::associated_executor_t<Handler, asio::any_io_executor>;
    static constexpr std::size_t alignment = std::max(alignof(Handler), alignof(std::tuple<Args...>));
    using memory = blocks<allocator, std::max(alignment, alignof(std::max_align_t))>;

public:
    static bound_completion* make(Handler&& handler, const asio::any_io_executor& io)
    {
        const allocator from = asio::get_associated_allocator(handler);
        return new (memory::allocate(from, sizeof(bound_completion))) bound_completion{std::move(handler), io};
    }

    void give(Args&&... args) { args_.emplace(std::move(args)...); }

    void dispatch(owned_completion self, bool beside) override
    {
        const auto ex = outlasting(guard_.get_executor()); // no other copy of it is here when the handler runs
        if constexpr (std::same_as<executor, asio::any_io_executor>)
            dispatch_completion(ex, std::move(self), beside);
        else
            asio::dispatch(ex, completion_runner{std::move(self)});
    }
    void run() override
    {
        Handler handler = std::move(handler_);
        std::tuple<Args...> args = std::move(*args_);
        free(asio::get_associated_allocator(handler)); // what is left in handler_ need not have one
        std::apply([&](Args&... a) { std::move(handler)(std::move(a)...); }, args);
    }
    void drop() noexcept override { free(asio::get_associated_allocator(handler_)); }

private:
    void free(const allocator to) noexcept
    {
        this->~bound_completion();
        memory::deallocate(to, this, sizeof(bound_completion));
    }

    bound_completion(Handler&& handler, const asio::any_io_executor& io)
        : completion{io}, handler_{std::move(handler)}, guard_{asio::get_associated_executor(handler_, io)}
    {
    }

    Handler handler_;
    asio::executor_work_guard<executor> guard_;
    std::optional<std::tuple<Args...>> args_;
};

/// A handler of `void(Args...)`, until it is completed or dropped.
template <typename Handler, typename... Args>
class held_handler {
public:
    held_handler(Handler handler, const asio::any_io_executor& io) : held_{bound::make(std::move(handler), io)} {}

    /// Once. Everything of this operation is released before the handler runs.
    void complete(Args... args)
    {
        held_->give(std::move(args)...);
        post_completion(std::move(held_));
    }
    void drop() noexcept { held_.reset(); }

private:
    using bound = bound_completion<Handler, Args...>;

    std::unique_ptr<bound, drop_completion> held_;
};

/// Passes cancellation from a handler's slot to a call that starts a moment later. Any thread.
class canceller {
public:
    static std::shared_ptr<canceller> make();

    void started(std::weak_ptr<call_handle> call) noexcept;
    void cancel(asio::cancellation_type type) noexcept;

private:
    void tell(asio::cancellation_type type) noexcept;

    std::mutex mutex_;
    std::weak_ptr<call_handle> call_;
    std::optional<asio::cancellation_type> asked_;
};

/// What a slot is given.
struct cancel_hook {
    std::shared_ptr<canceller> to;

    void operator()(asio::cancellation_type type) const noexcept { to->cancel(type); }
};

/// Null when nobody can ask for cancellation there.
std::shared_ptr<canceller> listen_to_slot(asio::cancellation_slot slot);

/// What hears of cancellation by the handler's slot; null when it has none.
template <typename Handler>
std::shared_ptr<canceller> listen_to_slot_of(Handler& handler)
{
    auto slot = asio::get_associated_cancellation_slot(handler);
    if constexpr (std::same_as<decltype(slot), asio::cancellation_slot>)
        return listen_to_slot(slot);
    else {
        if (!slot.is_connected())
            return nullptr;
        auto to = canceller::make();
        slot.assign(cancel_hook{to});
        return to;
    }
}

} // namespace cofork::detail
