#pragma once
// What `parallel`, `try_parallel`, `run` and `try_run` make of outcomes.

#include <cofork/detail/operation.hpp>

#include <algorithm>
#include <system_error>
#include <concepts>
#include <limits>

namespace cofork::detail {

inline constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

/// Room for all, so that nothing is copied while it grows. Not beyond reason: a range may be sized and endless.
template <typename T>
void reserve_for(std::vector<T>& all, std::size_t items)
{
    constexpr std::size_t most = std::size_t{64} << 20; // bytes; what is not used is only addresses
    all.reserve(std::min(items, most / sizeof(T)));
}

/// Values by index, wherever they come in; the first failure ends the call.
template <typename R, typename Handler>
class values_sink {
public:
    static constexpr bool keeps_failures = false;

    values_sink(Handler handler, const asio::any_io_executor& io) : handler_{std::move(handler), io} {}

    std::size_t room(std::size_t) const noexcept { return no_limit; }
    bool over_when_idle() const noexcept { return true; }

    void expect(std::size_t items) { reserve_for(values_, items); }
    void make_room(std::size_t items)
    {
        if (items > values_.size())
            values_.resize(items);
    }
    void value(std::size_t index, R value) { values_[index] = std::move(value); }
    bool failed(failure) const noexcept { return false; }

    void finish(std::exception_ptr why) noexcept
    {
        std::vector<R> values;
        if constexpr (in_place)
            values.swap(values_);
        else if (!why) {
            values.reserve(values_.size());
            for (auto& v : values_)
                values.push_back(std::move(*v));
        }
        if (why)
            values.clear();
        handler_.complete(std::move(why), std::move(values));
    }
    void abandon() noexcept { handler_.drop(); }

private:
    /// At the end none is missing: till then something may stand for it.
    static constexpr bool in_place = std::default_initializable<R> && std::is_move_assignable_v<R>;
    held_handler<Handler, std::exception_ptr, std::vector<R>> handler_;
    std::vector<std::conditional_t<in_place, R, std::optional<R>>> values_;
};

template <typename Handler>
class values_sink<void, Handler> {
public:
    static constexpr bool keeps_failures = false;

    values_sink(Handler handler, const asio::any_io_executor& io) : handler_{std::move(handler), io} {}

    std::size_t room(std::size_t) const noexcept { return no_limit; }
    bool over_when_idle() const noexcept { return true; }
    void value(std::size_t) const noexcept {}
    bool failed(failure) const noexcept { return false; }
    void finish(std::exception_ptr why) noexcept { handler_.complete(std::move(why)); }
    void abandon() noexcept { handler_.drop(); }

private:
    held_handler<Handler, std::exception_ptr> handler_;
};

/// Every outcome by index. Items that the call's end overtook have a failure that says so.
template <typename R, typename Handler>
class outcomes_sink {
public:
    static constexpr bool keeps_failures = true;

    outcomes_sink(Handler handler, const asio::any_io_executor& io) : handler_{std::move(handler), io} {}

    std::size_t room(std::size_t) const noexcept { return no_limit; }
    bool over_when_idle() const noexcept { return true; }

    void expect(std::size_t items) { reserve_for(outcomes_, items); }
    void make_room(std::size_t items)
    {
        if (items > outcomes_.size())
            outcomes_.resize(items);
    }
    template <typename... Value>
    void value(std::size_t index, Value... value)
    {
        outcomes_[index].emplace(std::move(value)...);
    }
    bool failed(failure why)
    {
        make_room(why.index + 1);
        outcomes_[why.index].emplace(std::move(why));
        return true;
    }
    void overtaken(std::size_t items) { make_room(items); }

    void finish(std::exception_ptr why) noexcept
    {
        const std::error_code code = code_of(why);
        std::vector<outcome<R>> all;
        all.reserve(outcomes_.size());
        for (auto& o : outcomes_)
            all.push_back(o ? std::move(*o) : outcome<R>{not_done(all.size(), code)});
        handler_.complete(code, std::move(all));
    }
    void abandon() noexcept { handler_.drop(); }

private:
    static failure not_done(std::size_t index, const std::error_code& code)
    {
        const bool nobody = code == errc::spawn_failed || code == errc::boot_failed || code == errc::nursery_lost;
        failure why;
        why.kind = nobody ? failure_kind::not_started : failure_kind::cancelled;
        why.index = index;
        why.what = nobody ? code.message() : "the call ended before the item did";
        return why;
    }

    held_handler<Handler, std::error_code, std::vector<outcome<R>>> handler_;
    std::vector<std::optional<outcome<R>>> outcomes_;
};

/// Becomes an R when somebody asks for one. A handler for `void(std::exception_ptr, R)` gets an R with every error too;
/// where R has no default there is none to give, and an awaitable does not ask.
template <typename R>
class value_on_demand {
public:
    explicit value_on_demand(std::optional<R> value) noexcept : value_{std::move(value)} {}
    operator R() && { return std::move(value_).value(); }

private:
    std::optional<R> value_;
};

/// The value of one call.
template <typename R, typename Handler>
class value_sink {
public:
    static constexpr bool keeps_failures = false;

    value_sink(Handler handler, const asio::any_io_executor& io) : handler_{std::move(handler), io} {}

    std::size_t room(std::size_t) const noexcept { return no_limit; }
    bool over_when_idle() const noexcept { return true; }
    void value(std::size_t, R value) { value_.emplace(std::move(value)); }
    bool failed(failure) const noexcept { return false; }
    void finish(std::exception_ptr why) noexcept
    {
        if constexpr (std::default_initializable<R>)
            handler_.complete(std::move(why), value_ ? std::move(*value_) : R{});
        else
            handler_.complete(std::move(why), argument{std::move(value_)});
    }
    void abandon() noexcept { handler_.drop(); }

private:
    using argument = std::conditional_t<std::default_initializable<R>, R, value_on_demand<R>>;

    held_handler<Handler, std::exception_ptr, argument> handler_;
    std::optional<R> value_;
};

/// The outcome of one call.
template <typename R, typename Handler>
class outcome_sink {
public:
    static constexpr bool keeps_failures = true;

    outcome_sink(Handler handler, const asio::any_io_executor& io) : handler_{std::move(handler), io} {}

    std::size_t room(std::size_t) const noexcept { return no_limit; }
    bool over_when_idle() const noexcept { return true; }
    template <typename... Value>
    void value(std::size_t, Value... value)
    {
        outcome_.emplace(std::move(value)...);
    }
    bool failed(failure why)
    {
        outcome_.emplace(std::move(why));
        return true;
    }
    void finish(std::exception_ptr why) noexcept
    {
        if (!outcome_) {
            failure none;
            none.kind = failure_kind::cancelled;
            none.what = "the call ended before it was done";
            outcome_.emplace(std::move(none));
        }
        handler_.complete(code_of(why), std::move(*outcome_));
    }
    void abandon() noexcept { handler_.drop(); }

private:
    held_handler<Handler, std::error_code, outcome<R>> handler_;
    std::optional<outcome<R>> outcome_;
};

} // namespace cofork::detail
