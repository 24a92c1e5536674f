#pragma once
// stream(): outcomes as they come, with exact back-pressure.

#include <cofork/detail/operation.hpp>
#include <cofork/detail/start.hpp>

#include <asio/awaitable.hpp>
#include <asio/use_awaitable.hpp>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>

namespace cofork {

namespace detail {

/// Whoever awaits the next outcome, its handler's type forgotten.
template <typename R>
class waiter {
public:
    virtual ~waiter() = default;
    virtual void complete(std::exception_ptr why, std::optional<indexed<R>> next) = 0;
};

template <typename R, typename Handler>
class typed_waiter final : public waiter<R> {
public:
    typed_waiter(Handler handler, const asio::any_io_executor& io) : handler_{std::move(handler), io} {}
    void complete(std::exception_ptr why, std::optional<indexed<R>> next) override
    {
        handler_.complete(std::move(why), std::move(next));
    }

private:
    held_handler<Handler> handler_;
};

/// What lies between the place, which puts outcomes in, and the consumer, who takes them out. Any thread.
template <typename R>
class stream_state {
public:
    using lock = std::unique_lock<std::mutex>;

    stream_state(order delivery, std::size_t window) : delivery_{delivery}, window_{window} {}

    // From the place.

    std::size_t room(std::size_t window)
    {
        const lock held{mutex_};
        asked_window_ = window_ > 0 ? window_ : window;
        stalled_ = true; // until the consumer has read; harmless where there is room
        return asked_window_ - std::min(asked_window_, unread_);
    }

    bool over_when_idle()
    {
        const lock held{mutex_};
        starved_ = !waiter_;
        return waiter_ && unread_ == 0;
    }

    void put(std::size_t index, outcome<R> o)
    {
        lock held{mutex_};
        const std::size_t key = delivery_ == order::given ? index : arrivals_++;
        const std::size_t place = key - next_;
        if (outcomes_.size() <= place)
            outcomes_.resize(place + 1);
        outcomes_[place].emplace(indexed<R>{index, std::move(o)});
        ++unread_;
        hand_over(held);
    }

    void finish(std::exception_ptr why)
    {
        std::shared_ptr<call_handle> over; // it holds the job, which holds this
        lock held{mutex_};
        over = std::move(call_);
        ended_ = true;
        why_ = std::move(why);
        hand_over(held);
    }

    void abandon() noexcept
    {
        std::unique_ptr<waiter<R>> dropped;
        std::shared_ptr<call_handle> over;
        const lock held{mutex_};
        ended_ = true;
        dropped = std::move(waiter_);
        over = std::move(call_);
    }

    // From the consumer.

    void wait(std::unique_ptr<waiter<R>> w)
    {
        lock held{mutex_};
        waiter_ = std::move(w);
        ++waits_;
        hand_over(held);
        if (!held.owns_lock())
            held.lock();
        if (waiter_ && std::exchange(starved_, false))
            poke(held); // nothing runs, nothing waits, and the consumer asks: is it over?
    }

    /// The next outcome if it is there.
    std::optional<indexed<R>> take()
    {
        lock held{mutex_};
        if (waiter_ || !ready())
            return {};
        return take_first(held);
    }

    /// Ends the wait `n`, if it is still going on.
    void cancel_wait(std::size_t n)
    {
        lock held{mutex_};
        if (n != waits_ || !waiter_)
            return;
        auto w = std::move(waiter_);
        held.unlock();
        w->complete(aborted(), std::nullopt);
    }
    std::size_t next_wait()
    {
        const lock held{mutex_};
        return waits_ + 1;
    }

    void serve(std::shared_ptr<call_handle> call)
    {
        const lock held{mutex_};
        if (!ended_)
            call_ = std::move(call);
    }

    void close() noexcept
    {
        lock held{mutex_};
        auto call = std::move(call_);
        auto w = std::move(waiter_);
        const bool over = std::exchange(ended_, true);
        outcomes_.clear();
        unread_ = 0;
        why_ = nullptr;
        held.unlock();
        if (w)
            w->complete(aborted(), std::nullopt);
        if (call && !over)
            call->abandon();
    }

private:
    static std::exception_ptr aborted()
    {
        return std::make_exception_ptr(std::system_error{make_error_code(asio::error::operation_aborted)});
    }

    bool ready() const
    {
        return unread_ > 0 && (ended_ || outcomes_.front());
    }

    /// Precondition: ready(). May unlock.
    std::optional<indexed<R>> take_first(lock& held)
    {
        for (; !outcomes_.front(); ++next_) // it ended early: what is missing will not come
            outcomes_.pop_front();
        auto first = std::move(outcomes_.front());
        outcomes_.pop_front();
        ++next_;
        --unread_;
        if (stalled_ && unread_ <= asked_window_ / 2) {
            stalled_ = false;
            poke(held);
        }
        return first;
    }

    /// Gives the waiter what there is for it. Unlocks before it does.
    void hand_over(lock& held)
    {
        if (!waiter_ || (!ready() && !ended_))
            return;
        auto w = std::move(waiter_);
        std::optional<indexed<R>> next;
        std::exception_ptr why;
        if (ready())
            next = take_first(held);
        else
            why = std::exchange(why_, nullptr);
        if (held.owns_lock())
            held.unlock();
        w->complete(std::move(why), std::move(next));
    }

    void poke(lock& held)
    {
        const auto call = call_;
        held.unlock();
        if (call)
            call->poke();
    }

    std::mutex mutex_;
    const order delivery_;
    const std::size_t window_;
    std::size_t asked_window_ = 0;
    std::deque<std::optional<indexed<R>>> outcomes_; // from next_ on, by index or by arrival; empty: not there yet
    std::size_t unread_ = 0;                         // that are there
    std::size_t next_ = 0;
    std::size_t arrivals_ = 0;
    std::unique_ptr<waiter<R>> waiter_;
    std::size_t waits_ = 0;
    bool stalled_ = false; // the place may be waiting for room
    bool starved_ = false; // the place may be waiting for the consumer to ask
    bool ended_ = false;
    std::exception_ptr why_;
    std::shared_ptr<call_handle> call_;
};

template <typename R>
class stream_sink {
public:
    static constexpr bool keeps_failures = true;

    explicit stream_sink(std::shared_ptr<stream_state<R>> state) : state_{std::move(state)} {}

    std::size_t room(std::size_t window) { return state_->room(window); }
    bool over_when_idle() { return state_->over_when_idle(); }
    template <typename... Value>
    void value(std::size_t index, Value... value)
    {
        state_->put(index, outcome<R>{std::move(value)...});
    }
    bool failed(failure why)
    {
        const std::size_t index = why.index;
        state_->put(index, outcome<R>{std::move(why)});
        return true;
    }
    void finish(std::exception_ptr why) noexcept { state_->finish(std::move(why)); }
    void abandon() noexcept { state_->abandon(); }

private:
    std::shared_ptr<stream_state<R>> state_;
};

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

    typed_starter(options o, std::shared_ptr<stream_state<result>> state, F&& f, I&& items)
        : options_{o}, job_{std::make_shared<task_job<Task, stream_sink<result>>>(
                           std::tuple{std::move(state)}, std::tuple<F&&, I&&>{std::forward<F>(f), std::forward<I>(items)})}
    {
    }

    std::shared_ptr<call_handle> start(const asio::any_io_executor& ex) override
    {
        return begin(own_place{}, ex, options_, std::exchange(job_, nullptr));
    }

private:
    options options_;
    std::shared_ptr<task_job<Task, stream_sink<result>>> job_;
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
        auto slot = asio::get_associated_cancellation_slot(handler);
        if (slot.is_connected())
            slot.assign([state = std::weak_ptr{state_}, n = state_->next_wait()](asio::cancellation_type) {
                if (const auto s = state.lock())
                    s->cancel_wait(n);
            });
        auto w = std::make_unique<detail::typed_waiter<R, Handler>>(std::move(handler), ex_);
        if (const auto first = std::exchange(starter_, nullptr))
            state_->serve(first->start(ex_));
        state_->wait(std::move(w));
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
    auto j = std::make_shared<detail::task_job<task, detail::stream_sink<result>>>(
        std::tuple{state}, std::tuple<callable&&, source&&>{std::forward<callable>(own_f), std::forward<source>(own_items)});
    state->serve(detail::begin(here, ex, o, j));
    return result_stream<result>{std::move(state), ex};
}

} // namespace cofork
