#pragma once
// Says at the call that captures travel as bytes.

#include <functional>
#include <type_traits>
#include <utility>

namespace cofork {

/// What by_bytes() returns: calls the callable that it holds.
template <typename F>
struct bytes_of {
    F f;

    template <typename... Args>
        requires std::invocable<F&, Args...>
    decltype(auto) operator()(Args&&... args)
    {
        return std::invoke(f, std::forward<Args>(args)...);
    }
};

/// Wraps a callable with captures for a pool: its bytes are copied to the worker. So what it captures must mean the
/// same there: numbers and other plain values do; references and pointers only when they refer to objects that
/// existed before the pool was made and have not changed since.
template <typename F>
constexpr auto by_bytes(F&& f)
{
    static_assert(
        std::is_trivially_copyable_v<std::decay_t<F>>,
        "cofork::by_bytes: the callable owns something (a string, a vector, a pointer with a destructor) that bytes "
        "cannot carry: put it into the items, or run without a pool, where captures are inherited");
    return bytes_of<std::decay_t<F>>{std::forward<F>(f)};
}

} // namespace cofork
