#pragma once
// The state that each worker of a pool makes for itself.

#include <concepts>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cofork {

namespace detail {

/// Made by pool_options::init, inherited by the workers through the fork.
class state_maker {
public:
    virtual ~state_maker() = default;
    /// Makes the state; it lives as long as the worker. Throws what the user's callable throws.
    virtual void* make() = 0;
    virtual const std::type_info& type() const noexcept = 0;
};

template <typename F>
class typed_state_maker final : public state_maker {
    using state = std::decay_t<std::invoke_result_t<F&>>;

public:
    explicit typed_state_maker(F f) : f_{std::move(f)} {}
    void* make() override { return new state(f_()); }
    const std::type_info& type() const noexcept override { return typeid(state); }

private:
    F f_;
};

} // namespace detail

/// Any callable without arguments that returns the state of a worker. It is called in the worker, before its first
/// item; a callable of any kind will do, as it is inherited and never serialised.
class worker_init {
public:
    worker_init() = default;

    template <typename F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, worker_init> && std::invocable<std::decay_t<F>&>)
    worker_init(F&& f) : maker_{std::make_shared<detail::typed_state_maker<std::decay_t<F>>>(std::forward<F>(f))}
    {
        static_assert(!std::is_void_v<std::invoke_result_t<std::decay_t<F>&>>, "cofork: init returns the worker's state");
    }

    [[nodiscard]] explicit operator bool() const noexcept { return maker_ != nullptr; }
    const std::shared_ptr<detail::state_maker>& maker() const noexcept { return maker_; }

private:
    std::shared_ptr<detail::state_maker> maker_;
};

} // namespace cofork
