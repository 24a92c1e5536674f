#pragma once
// A callable that owns nothing, held in place.

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace cofork {

template <typename Signature>
class trivial_fn;

/// A callable held in place: empty, or a copy of a function pointer or of a closure that is trivially copyable and
/// at most six references or pointers in size. What it refers to must outlive the call that it is given to.
///
/// It takes the place of std::function in `options`, which must own nothing (see options.hpp).
template <typename R, typename... Args>
class trivial_fn<R(Args...)> {
    static constexpr std::size_t capacity = 48;

public:
    trivial_fn() = default;

    template <typename F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, trivial_fn> && std::is_invocable_r_v<R, std::decay_t<F>&, Args...>)
    trivial_fn(F&& f)
    {
        using Fn = std::decay_t<F>;
        static_assert(
            std::is_trivially_copyable_v<Fn> && std::is_trivially_destructible_v<Fn>,
            "cofork: options must own nothing: capture by reference ([&]) or by pointer what this callable needs");
        static_assert(sizeof(Fn) <= capacity, "cofork: this callable captures more than six references: capture one struct");
        ::new (static_cast<void*>(storage_)) Fn(std::forward<F>(f));
        call_ = [](void* storage, Args... args) -> R {
            return (*std::launder(reinterpret_cast<Fn*>(storage)))(std::forward<Args>(args)...);
        };
    }

    [[nodiscard]] explicit operator bool() const noexcept { return call_ != nullptr; }

    /// Precondition: not empty.
    R operator()(Args... args) { return call_(storage_, std::forward<Args>(args)...); }

private:
    R (*call_)(void*, Args...) = nullptr;
    alignas(std::max_align_t) std::byte storage_[capacity]{};
};

} // namespace cofork
