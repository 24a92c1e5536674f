#pragma once
// stream(): outcomes as they come, with exact back-pressure.

#include <cofork/detail/driven_context.hpp>
#include <cofork/detail/operation.hpp>
#include <cofork/detail/start.hpp>
#include <cofork/detail/stream_state.hpp>

#include <asio/awaitable.hpp>
#include <asio/use_awaitable.hpp>

#include <memory>
#include <optional>

namespace cofork {

namespace detail {

/// A stream that was made and not started.
class starter {
public:
    virtual ~starter() = default;
    virtual std::shared_ptr<call_handle> start(const asio::any_io_executor& ex) = 0;
};

template <typename Task, typename F, typename I>
class typed_starter final : public starter {
public:
    using result = typename Task::result;

    typed_starter(const options& o, std::shared_ptr<stream_state<result>> state, F&& f, I&& items)
        : typed_starter{o, job_type::make({}, std::forward<F>(f), std::forward<I>(items), std::move(state))}
    {
    }

    std::shared_ptr<call_handle> start(const asio::any_io_executor& ex) override
    {
        return begin(own_place{}, ex, options_, task_, std::move(job_));
    }

private:
    using job_type = task_job<Task, stream_sink<result>>;

    typed_starter(const options& o, job_type& j) : options_{o}, task_{j.task()}, job_{j.kept()} {}

    options options_;
    Task& task_;
    std::shared_ptr<job> job_;
};

} // namespace detail

/// Outcomes of a call, taken one by one. Move-only.
///
///     auto pages = cofork::stream(fetch, urls, {.workers = 8});
///     while (auto page = co_await pages.next())
///         use(page->index, page->outcome);
///
/// At most options::window items are running or unread at any moment. Destroying it kills and reaps the workers that
/// run its items, and blocks until they are: milliseconds; with a pool it only tells the pool to.
///
/// Threads: next() from one at a time.
template <typename R>
class result_stream {
public:
    using executor_type = asio::any_io_executor;

    result_stream(result_stream&&) = default;
    result_stream& operator=(result_stream&& other) noexcept
    {
        close();
        state_ = std::move(other.state_);
        starter_ = std::move(other.starter_);
        ex_ = std::move(other.ex_);
        return *this;
    }
    ~result_stream() { close(); }

    /// The next outcome, or nothing when there are no more. Completes with
    /// `void(std::exception_ptr, std::optional<indexed<R>>)`; what ended the stream early is thrown once, after the
    /// outcomes that were there before. At most one at a time.
    ///
    /// A stream that was made without a place starts here, on the handler's executor. Cancellation (any type) ends
    /// this wait with operation_aborted; the stream goes on and loses nothing.
    ///
    /// Awaited without a token, an outcome that is there is taken at once, without a turn of the loop.
    asio::awaitable<std::optional<indexed<R>>> next()
    {
        if (ex_) {
            if (auto there = state_->take())
                co_return std::move(there);
        }
        co_return co_await next(asio::use_awaitable);
    }

    template <typename Token>
    auto next(Token&& token)
    {
        return asio::async_initiate<Token, void(std::exception_ptr, std::optional<indexed<R>>)>(
            [](auto handler, result_stream* self) { self->wait(std::move(handler)); }, token, this);
    }

    /// Kills and reaps the workers, drops unread outcomes; a pending next() gets operation_aborted. Idempotent.
    void close() noexcept
    {
        starter_.reset();
        if (state_)
            state_->close();
    }

    /// Empty until a stream that was made without a place has started.
    executor_type get_executor() const noexcept { return ex_; }

    // Made by stream().
    result_stream(std::shared_ptr<detail::stream_state<R>> state, std::unique_ptr<detail::starter> starter)
        : state_{std::move(state)}, starter_{std::move(starter)}
    {
    }
    result_stream(std::shared_ptr<detail::stream_state<R>> state, asio::any_io_executor ex)
        : state_{std::move(state)}, ex_{std::move(ex)}
    {
    }

private:
    template <typename Handler>
    void wait(Handler handler)
    {
        if (!ex_) {
            if constexpr (!detail::brings_executor<Handler>)
                throw std::system_error{make_error_code(errc::invalid_options),
                    "this completion token brings no executor: give the stream one, as in stream(executor, f, items)"};
            else
                ex_ = detail::own_place{}.executor(handler);
        }
        detail::driven_context::involve(ex_);
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected())
            slot.assign([state = std::weak_ptr{state_}, n = state_->next_wait()](asio::cancellation_type) {
                if (const auto s = state.lock())
                    s->cancel_wait(n);
            });
        const auto allocator = asio::get_associated_allocator(handler);
        const auto keep = state_; // the handler may run in another thread, and destroy us, before wait() returns
        auto w = std::allocate_shared<detail::typed_waiter<R, Handler>>(allocator, std::move(handler), ex_);
        if (const auto first = std::exchange(starter_, nullptr))
            state_->serve(first->start(ex_));
        keep->wait(std::move(w));
    }

    std::shared_ptr<detail::stream_state<R>> state_;
    std::unique_ptr<detail::starter> starter_; // until the first next(), when made without a place
    asio::any_io_executor ex_;
};

/// f over items, outcomes one by one: see parallel.hpp for f, items, threads and cost. Without a place it starts at the
/// first next().
template <typename F, detail::item_source I>
    requires(!detail::place_like<F>)
auto stream(F&& f, I&& items, options o = {})
{
    using callable = detail::callable_arg<F>;
    using source = detail::items_arg<I>;
    using task = detail::snapshot_task<callable, source>;
    using result = typename task::result;
    auto state = std::make_shared<detail::stream_state<result>>(o.delivery, o.window);
    callable own_f(std::forward<F>(f));
    source own_items(std::forward<I>(items));
    auto starter = std::make_unique<detail::typed_starter<task, callable, source>>(
        o, state, std::forward<callable>(own_f), std::forward<source>(own_items));
    return result_stream<result>{std::move(state), std::move(starter)};
}

/// The same in a pool, or on an executor: starts at once.
template <detail::place_like P, typename F, detail::item_source I>
auto stream(P&& place, F&& f, I&& items, options o = {})
{
    using callable = detail::callable_arg<F>;
    using source = detail::items_arg<I>;
    using where = detail::place_of<P&>;
    using task = detail::task_of<where, callable, source>;
    using result = typename task::result;
    auto state = std::make_shared<detail::stream_state<result>>(o.delivery, o.window);
    callable own_f(std::forward<F>(f));
    source own_items(std::forward<I>(items));
    const where here = detail::make_place(place);
    const asio::any_io_executor ex = here.executor(0);
    auto& typed = detail::task_job<task, detail::stream_sink<result>>::make(
        {}, std::forward<callable>(own_f), std::forward<source>(own_items), state);
    state->serve(detail::begin(here, ex, o, typed.task(), typed.kept()));
    return result_stream<result>{std::move(state), ex};
}

} // namespace cofork
