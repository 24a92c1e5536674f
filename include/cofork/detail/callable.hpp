#pragma once
// What may be called, with what, and what it gives back.

#include <cofork/by_bytes.hpp>
#include <cofork/detail/job.hpp>
#include <cofork/detail/travel.hpp>

#include <cstring>
#include <functional>
#include <new>
#include <type_traits>
#include <utility>

namespace cofork::detail {

// An item is handed over as it is where f takes it so, else moved: a snapshot's worker owns its copy of the memory,
// so f may take a move-only item by value.

template <typename F, typename Item>
concept takes_lvalue = std::invocable<F&, Item>;
template <typename F, typename Item>
concept takes_moved = std::invocable<F&, std::remove_reference_t<Item>&&>;

template <typename F, typename Item>
decltype(auto) call_with(F& f, Item&& item)
{
    if constexpr (takes_lvalue<F, Item&&>)
        return std::invoke(f, std::forward<Item>(item));
    else if constexpr (takes_moved<F, Item>)
        return std::invoke(f, std::move(item));
    else
        return std::invoke(f, item);
}

template <typename F, typename Item>
concept callable_with = takes_lvalue<F, Item> || takes_moved<F, Item> || takes_lvalue<F, std::remove_reference_t<Item>&>;

template <typename F, typename Item>
using raw_result = decltype(call_with(std::declval<F&>(), std::declval<Item>()));

template <typename Raw>
consteval auto check_result()
{
    static_assert(
        !std::is_reference_v<Raw>,
        "cofork: f returns a reference, which means nothing in another process: return the value (-> T, not -> T& or "
        "-> decltype(auto))");
    if constexpr (!std::is_reference_v<Raw> && !std::is_void_v<Raw>)
        require_codable_result<std::remove_cv_t<Raw>>();
    return std::type_identity<std::remove_cvref_t<Raw>>{};
}

/// The R of outcome<R>.
template <typename Raw>
struct checked_result {
    using type = typename decltype(check_result<Raw>())::type;
};

// The first parameter of f, where it has only one overload: a pool's worker state.

template <typename Signature>
struct first_parameter {
    using type = void;
};
template <typename R, typename A, typename... Rest>
struct first_parameter<R (*)(A, Rest...)> {
    using type = A;
};
template <typename R, typename A, typename... Rest>
struct first_parameter<R (*)(A, Rest...) noexcept> {
    using type = A;
};
template <typename R, typename C, typename A, typename... Rest>
struct first_parameter<R (C::*)(A, Rest...)> {
    using type = A;
};
template <typename R, typename C, typename A, typename... Rest>
struct first_parameter<R (C::*)(A, Rest...) const> {
    using type = A;
};
template <typename R, typename C, typename A, typename... Rest>
struct first_parameter<R (C::*)(A, Rest...) noexcept> {
    using type = A;
};
template <typename R, typename C, typename A, typename... Rest>
struct first_parameter<R (C::*)(A, Rest...) const noexcept> {
    using type = A;
};

template <typename F>
struct first_parameter_of : first_parameter<F> {};
template <typename F>
    requires requires { &F::operator(); }
struct first_parameter_of<F> : first_parameter<decltype(&F::operator())> {};
template <typename F>
struct first_parameter_of<bytes_of<F>> : first_parameter_of<F> {};

template <typename F, typename... Args>
inline constexpr bool takes_state = [] {
    using first = typename first_parameter_of<F>::type;
    if constexpr (std::is_lvalue_reference_v<first> && !std::invocable<F&, Args...>)
        return std::invocable<F&, first, Args...>;
    else
        return false;
}();

/// Calls f with the worker's state in front, where it takes one.
template <typename F, typename... Args>
decltype(auto) call_in_pool(F& f, void* state, Args&&... args)
{
    if constexpr (takes_state<F, Args...>) {
        using state_ref = typename first_parameter_of<F>::type;
        return std::invoke(f, *static_cast<std::remove_reference_t<state_ref>*>(state), std::forward<Args>(args)...);
    }
    else if constexpr (std::invocable<F&, Args...>)
        return std::invoke(f, std::forward<Args>(args)...);
    else
        return std::invoke(f, args...);
}

template <typename F, typename... Args>
using raw_pool_result = decltype(call_in_pool(std::declval<F&>(), nullptr, std::declval<Args>()...));

template <typename>
inline constexpr bool is_bytes_of = false;
template <typename F>
inline constexpr bool is_bytes_of<bytes_of<F>> = true;

/// What can follow the fork of a pool's nursery without its captures.
template <typename F>
inline constexpr bool travels = std::is_pointer_v<F> || std::is_member_pointer_v<F> || is_bytes_of<F>
    || (std::is_empty_v<F> && std::is_trivially_copyable_v<F>);

template <typename F>
consteval void require_travels()
{
    static_assert(
        travels<F>,
        "cofork: this callable has captures, and the pool's workers were forked before it existed: pass a function or "
        "a captureless lambda, put the data into the items, wrap a callable whose captures are plain values in "
        "cofork::by_bytes(...), or leave the pool out: then captures are inherited");
}

/// g++ 12 destroys a temporary closure inside a co_await expression twice; from which version on it does not is not
/// known, so that the check stays for all before 14.
template <typename F, bool Awaited>
consteval void require_named_callable()
{
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 14
    static_assert(
        !Awaited || std::is_lvalue_reference_v<F> || std::is_trivially_destructible_v<std::remove_cvref_t<F>>,
        "cofork: this version of g++ destroys a temporary callable with owning captures twice inside co_await: name it "
        "first (auto f = [...]...; co_await parallel(f, ...);)");
#endif
}

/// Calls and encodes what comes back; nothing for void.
template <typename Call>
void encode_result(encoder& out, Call&& call)
{
    if constexpr (std::is_void_v<decltype(call())>)
        call();
    else {
        const auto& result = call(); // a prvalue lives as long as the reference
        if constexpr (travels_whole<std::remove_cvref_t<decltype(result)>>) {
            const std::size_t count = std::ranges::size(result);
            if (out.pass_on(count, std::ranges::data(result), count * sizeof(*std::ranges::data(result))))
                return;
        }
        out.value(result);
    }
}

/// A callable that travelled as bytes.
template <typename F>
class landed {
public:
    explicit landed(byte_view bytes) noexcept { std::memcpy(storage_, bytes.data(), sizeof storage_); }
    F& get() noexcept { return *std::launder(reinterpret_cast<F*>(storage_)); }

private:
    alignas(F) std::byte storage_[sizeof(F)];
};

template <typename T>
byte_view bytes_of_object(const T& object) noexcept
{
    return {reinterpret_cast<const std::byte*>(std::addressof(object)), sizeof object};
}

} // namespace cofork::detail
