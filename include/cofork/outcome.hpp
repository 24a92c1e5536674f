#pragma once
// One item's value, or the failure it ended with.

#include <cofork/failure.hpp>

#include <cassert>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>

namespace cofork {

namespace detail {

/// A failure elsewhere: it is rare, and forty times as large as a number.
class boxed_failure {
public:
    explicit boxed_failure(failure why) : why_{std::make_unique<failure>(std::move(why))} {}
    boxed_failure(const boxed_failure& other) : why_{other.why_ ? std::make_unique<failure>(*other.why_) : nullptr} {}
    boxed_failure(boxed_failure&&) noexcept = default;
    boxed_failure& operator=(const boxed_failure& other) { return *this = boxed_failure{other}; }
    boxed_failure& operator=(boxed_failure&&) noexcept = default;
    ~boxed_failure() = default;

    /// Precondition: not moved from.
    const failure& get() const noexcept { return *why_; }

private:
    std::unique_ptr<failure> why_;
};

} // namespace detail

/// One item's value, or why there is none.
///
/// A worker that crashes is an ordinary result of work that may crash, so it is a value here;
/// `value()` is for callers to whom any failure is exceptional.
template <typename T>
class [[nodiscard]] outcome {
    static_assert(!std::is_same_v<T, failure>, "an outcome<failure> could not be told apart");

public:
    using value_type = T;

    outcome(T value) : state_{std::in_place_index<0>, std::move(value)} {}
    outcome(failure why) : state_{std::in_place_index<1>, std::move(why)} {}

    [[nodiscard]] bool has_value() const noexcept { return state_.index() == 0; }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

    /// The value. Throws item_error when there is none.
    T& value() &
    {
        require();
        return *std::get_if<0>(&state_);
    }
    const T& value() const&
    {
        require();
        return *std::get_if<0>(&state_);
    }
    T value() &&
    {
        require();
        return std::move(*std::get_if<0>(&state_));
    }

    /// The value. Precondition: has_value().
    T& operator*() & noexcept { return checked(); }
    const T& operator*() const& noexcept { return const_cast<outcome*>(this)->checked(); }
    T&& operator*() && noexcept { return std::move(checked()); }
    T* operator->() noexcept { return &checked(); }
    const T* operator->() const noexcept { return &const_cast<outcome*>(this)->checked(); }

    /// Why there is no value. Precondition: !has_value().
    const failure& error() const noexcept
    {
        assert(!has_value());
        return std::get_if<1>(&state_)->get();
    }

private:
    void require() const
    {
        if (!has_value())
            throw item_error{error()};
    }
    T& checked() noexcept
    {
        assert(has_value());
        return *std::get_if<0>(&state_);
    }

    std::variant<T, detail::boxed_failure> state_;
};

/// The outcome of an item whose function returns nothing.
template <>
class [[nodiscard]] outcome<void> {
public:
    using value_type = void;

    outcome() = default;
    outcome(failure why) : why_{std::in_place_index<1>, std::move(why)} {}

    [[nodiscard]] bool has_value() const noexcept { return why_.index() == 0; }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }

    /// Throws item_error when the item failed.
    void value() const
    {
        if (!has_value())
            throw item_error{error()};
    }
    void operator*() const noexcept { assert(has_value()); }

    /// Why it failed. Precondition: !has_value().
    const failure& error() const noexcept
    {
        assert(!has_value());
        return std::get_if<1>(&why_)->get();
    }

private:
    std::variant<std::monostate, detail::boxed_failure> why_;
};

/// An outcome and the place of its item in the input, counted from 0.
template <typename R>
struct indexed {
    std::size_t index;
    cofork::outcome<R> outcome;
};

} // namespace cofork
