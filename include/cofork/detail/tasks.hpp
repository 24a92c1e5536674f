#pragma once
// f together with its items: what runs in a worker of a snapshot, and what is sent to a worker of a pool.

#include <cofork/detail/arriving.hpp>
#include <cofork/detail/callable.hpp>
#include <cofork/detail/input.hpp>
#include <cofork/detail/job.hpp>
#include <cofork/error.hpp>

#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cofork::detail {

/// f is copied or moved in; a callable that cannot be copied is borrowed when it is given as an lvalue.
template <typename F>
inline constexpr bool borrows_callable =
    std::is_lvalue_reference_v<F> && !std::is_copy_constructible_v<std::decay_t<F>>;

template <typename F>
class held_callable {
public:
    using callable = std::decay_t<F>;

    explicit held_callable(F&& f) : f_{hold(std::forward<F>(f))} {}

    callable& get() noexcept
    {
        if constexpr (borrows_callable<F>)
            return *f_;
        else
            return f_;
    }

private:
    static decltype(auto) hold(F&& f)
    {
        if constexpr (borrows_callable<F>)
            return std::addressof(f);
        else
            return std::forward<F>(f);
    }

    std::conditional_t<borrows_callable<F>, std::remove_reference_t<F>*, callable> f_;
};

/// Whether a T can be copied by its codec. Not by its constructor: a vector of move-only elements claims to have one.
template <typename T>
consteval bool is_clonable()
{
    if constexpr (std::is_trivially_copyable_v<T> || !codable<T>)
        return std::is_trivially_copyable_v<T>;
    else if constexpr (serializable<T>)
        return std::default_initializable<T>;
    else if constexpr (growing_container<T>)
        return is_clonable<std::ranges::range_value_t<T>>();
    else
        return true;
}
template <typename T>
inline constexpr bool clonable = is_clonable<T>();

template <typename T>
T clone(const T& from)
{
    if constexpr (std::is_trivially_copyable_v<T>)
        return from;
    else {
        byte_buffer bytes;
        encoder to{bytes};
        to.value(from);
        decoder in{bytes};
        return in.value<T>();
    }
}

[[noreturn]] inline void cannot_stay()
{
    throw std::system_error{make_error_code(errc::invalid_options),
        "options::workers is 0, and f takes or changes what cannot be copied: it would be missing here afterwards"};
}

/// f over items, in a snapshot or in this process.
template <typename F, typename I>
class snapshot_task final : public work {
public:
    using input = input_t<I, true>;
    using callable = typename held_callable<F>::callable;
    using argument = typename item_of<input>::type;
    static_assert(
        callable_with<callable, argument>,
        "cofork: f cannot be called with an item: see the type of the range's elements and f's parameter");
    using result = typename checked_result<raw_result<callable, argument>>::type;
    static constexpr bool by_index = input::by_index;
    /// f takes the item out of the worker's memory: the next attempt needs another worker.
    static constexpr bool consumes = by_index && !takes_lvalue<callable, argument>;

    snapshot_task(F&& f, I&& items) : f_{std::forward<F>(f)}, input_{std::forward<I>(items)}
    {
        if constexpr (!by_index)
            require_codable_item<typename input::item>();
    }

    void settle()
    {
        if constexpr (requires { input_.settle(); })
            input_.settle();
    }

    void stay(unsigned attempts) override
    {
        if constexpr (can_copy)
            copies_ = true;
        else if constexpr (spoils) {
            if (input::borrows || attempts > 1)
                cannot_stay();
        }
    }

    void run(std::uint64_t index, const travelled& item, encoder& out) override
    {
        if constexpr (can_copy) {
            if (copies_) {
                item_value copy = clone<item_value>(input_.at(index));
                return encode_result(out, [&]() -> decltype(auto) {
                    return call_with<callable, argument>(f_.get(), static_cast<argument>(copy));
                });
            }
        }
        if constexpr (by_index)
            encode_result(out, [&]() -> decltype(auto) { return call_with<callable, argument>(f_.get(), input_.at(index)); });
        else {
            auto value = value_of<typename input::item>(item);
            encode_result(out, [&]() -> decltype(auto) { return call_with(f_.get(), std::move(value)); });
        }
    }

    block_maker item_maker() const noexcept override
    {
        if constexpr (by_index)
            return nullptr;
        else
            return maker_of<typename input::item>();
    }

    work* inherited() noexcept { return this; }
    input& source() noexcept { return input_; }

private:
    using item_value = std::remove_cvref_t<argument>;
    /// f takes or changes the item where it is, and here that is the caller's.
    static constexpr bool spoils = by_index && std::is_lvalue_reference_v<argument> && !std::is_const_v<std::remove_reference_t<argument>>
        && !std::invocable<callable&, const item_value&>;

    static consteval bool may_copy()
    {
        if constexpr (spoils)
            return is_clonable<item_value>();
        else
            return false; // and nothing is asked of the type
    }
    static constexpr bool can_copy = may_copy();

    held_callable<F> f_;
    input input_;
    bool copies_ = false;
};

/// f over items, in a pool.
template <typename F, typename I>
class pool_task {
public:
    using input = input_t<I, false>;
    using callable = std::decay_t<F>;
    using item = typename input::item;
    static constexpr bool by_index = false;
    static constexpr bool with_state = takes_state<callable, item>;
    static_assert(
        with_state || callable_with<callable, item>,
        "cofork: f cannot be called with an item: see the type of the range's elements and f's parameter");
    using result = typename checked_result<raw_pool_result<callable, item>>::type;

    pool_task(F&& f, I&& items) : f_{std::forward<F>(f)}, input_{std::forward<I>(items)}
    {
        require_travels<callable>();
        require_codable_item<item>();
    }

    void settle() noexcept {}
    const entry* code() const noexcept { return &code_; }
    byte_view captures() const noexcept { return bytes_of_object(f_); }
    const std::type_info* state_type() const noexcept
    {
        if constexpr (with_state)
            return &typeid(std::remove_cvref_t<typename first_parameter_of<callable>::type>);
        else
            return nullptr;
    }
    work* inherited() noexcept { return nullptr; }
    input& source() noexcept { return input_; }

private:
    static void call(void* state, byte_view captures, const travelled& from, encoder& out)
    {
        landed<callable> f{captures};
        auto value = value_of<item>(from);
        encode_result(out, [&]() -> decltype(auto) { return call_in_pool(f.get(), state, std::move(value)); });
    }

    static constexpr entry code_{&call, maker_of<item>()};

    callable f_;
    input input_;
};

/// One call of f with arguments, in a snapshot or in this process.
template <typename F, typename... Args>
class snapshot_call final : public work {
public:
    using callable = typename held_callable<F>::callable;
    static_assert(std::invocable<callable&, Args&&...>, "cofork: f cannot be called with these arguments");
    using result = typename checked_result<std::invoke_result_t<callable&, Args&&...>>::type;
    static constexpr bool is_single = true;
    static constexpr bool by_index = true;
    static constexpr bool consumes = true; // arguments are moved into f

    snapshot_call(F&& f, std::tuple<Args...>&& args) : f_{std::forward<F>(f)}, args_{std::move(args)}
    {
    }

    void settle() noexcept {}
    void stay(unsigned attempts) override
    {
        if constexpr ((clonable<Args> && ...))
            copies_ = attempts > 1;
        else if (attempts > 1)
            cannot_stay();
    }
    void run(std::uint64_t, const travelled&, encoder& out) override
    {
        if constexpr ((clonable<Args> && ...)) {
            if (copies_) {
                std::tuple<Args...> copy = std::apply([](const Args&... a) { return std::tuple<Args...>{clone(a)...}; }, args_);
                return call(copy, out);
            }
        }
        call(args_, out);
    }

    work* inherited() noexcept { return this; }
    std::optional<std::size_t> size() const noexcept { return 1; }

private:
    void call(std::tuple<Args...>& args, encoder& out)
    {
        encode_result(out, [&]() -> decltype(auto) {
            return std::apply([&](Args&... a) -> decltype(auto) { return std::invoke(f_.get(), std::move(a)...); }, args);
        });
    }

    held_callable<F> f_;
    std::tuple<Args...> args_;
    bool copies_ = false;
};

/// One call of f with arguments, in a pool.
template <typename F, typename... Args>
class pool_call {
public:
    using callable = std::decay_t<F>;
    static constexpr bool with_state = takes_state<callable, Args...>;
    static_assert(with_state || std::invocable<callable&, Args&&...>, "cofork: f cannot be called with these arguments");
    using result = typename checked_result<raw_pool_result<callable, Args...>>::type;
    static constexpr bool is_single = true;
    static constexpr bool by_index = false;

    pool_call(F&& f, std::tuple<Args...>&& args) : f_{std::forward<F>(f)}, args_{std::move(args)}
    {
        require_travels<callable>();
        (require_codable_item<Args>(), ...);
    }

    void settle() noexcept {}
    std::optional<std::size_t> size() const noexcept { return 1; }
    pulled pull(encoded_items& out)
    {
        if (std::exchange(pulled_, true))
            return pulled::end;
        encoder to{out.bytes, out.left};
        std::apply([&](Args&... a) { (encode_last(to, a), ...); }, args_);
        return pulled::item;
    }
    const entry* code() const noexcept { return &code_; }
    byte_view captures() const noexcept { return bytes_of_object(f_); }
    const std::type_info* state_type() const noexcept
    {
        if constexpr (with_state)
            return &typeid(std::remove_cvref_t<typename first_parameter_of<callable>::type>);
        else
            return nullptr;
    }
    work* inherited() noexcept { return nullptr; }

private:
    static constexpr bool one_argument = sizeof...(Args) == 1;

    static std::tuple<Args...> arguments(const travelled& from)
    {
        if constexpr (one_argument)
            return std::tuple<Args...>{value_of<Args>(from)...};
        else {
            decoder in{from.bytes};
            std::tuple<Args...> args{in.value<Args>()...}; // braces: from left to right
            in.finish();
            return args;
        }
    }

    static constexpr block_maker item_maker() noexcept
    {
        if constexpr (one_argument)
            return maker_of<Args...>();
        else
            return nullptr;
    }

    static void call(void* state, byte_view captures, const travelled& from, encoder& out)
    {
        landed<callable> f{captures};
        std::tuple<Args...> args = arguments(from);
        encode_result(out, [&]() -> decltype(auto) {
            return std::apply([&](Args&... a) -> decltype(auto) { return call_in_pool(f.get(), state, std::move(a)...); }, args);
        });
    }

    static constexpr entry code_{&call, item_maker()};

    callable f_;
    std::tuple<Args...> args_;
    bool pulled_ = false;
};

} // namespace cofork::detail
