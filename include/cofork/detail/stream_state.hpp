#pragma once
// What lies between a call that makes outcomes and the consumer who takes them one by one.

#include <cofork/detail/completion.hpp>
#include <cofork/detail/operation.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/error.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <utility>

namespace cofork::detail {

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
    held_handler<Handler, std::exception_ptr, std::optional<indexed<R>>> handler_;
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
        const std::size_t key = delivery_ == order::given ? index : arrivals_;
        const std::size_t place = key - next_;
        if (outcomes_.size() <= place)
            outcomes_.resize(place + 1);
        outcomes_[place].emplace(indexed<R>{index, std::move(o)});
        ++arrivals_;
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
        std::shared_ptr<waiter<R>> dropped;
        std::shared_ptr<call_handle> over;
        const lock held{mutex_};
        ended_ = true;
        dropped = std::move(waiter_);
        over = std::move(call_);
    }

    // From the consumer.

    void wait(std::shared_ptr<waiter<R>> w)
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
    std::shared_ptr<waiter<R>> waiter_;
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

} // namespace cofork::detail
