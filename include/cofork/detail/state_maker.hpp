#pragma once
// The state that each worker of a pool makes for itself.

#include <cofork/detail/callable.hpp>

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

/// What pool_options::fini does with a state.
class state_ender {
public:
    virtual ~state_ender() = default;
    virtual void end(void* state) = 0;
    virtual const std::type_info& type() const noexcept = 0;
};

template <typename F>
class typed_state_ender final : public state_ender {
    using parameter = typename first_parameter_of<F>::type;
    static_assert(
        std::is_lvalue_reference_v<parameter>,
        "cofork: fini takes the state that init has made, by reference and by its name: [](state& s) { ... }");

public:
    explicit typed_state_ender(F f) : f_{std::move(f)} {}
    void end(void* state) override { f_(*static_cast<std::remove_reference_t<parameter>*>(state)); }
    const std::type_info& type() const noexcept override { return typeid(std::remove_cvref_t<parameter>); }

private:
    F f_;
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

/// Any callable that takes the state of a worker by reference. Called in the worker before it ends in an orderly way. A worker that
/// crashes or is killed, as all are when their pool is closed or destroyed, may not get to it. A callable of any kind will do, as it is inherited and never serialised.
class worker_fini {
public:
    worker_fini() = default;

    template <typename F>
        requires(!std::is_same_v<std::remove_cvref_t<F>, worker_fini>)
    worker_fini(F&& f) : ender_{std::make_shared<detail::typed_state_ender<std::decay_t<F>>>(std::forward<F>(f))}
    {
    }

    [[nodiscard]] explicit operator bool() const noexcept { return ender_ != nullptr; }
    const std::shared_ptr<detail::state_ender>& ender() const noexcept { return ender_; }

private:
    std::shared_ptr<detail::state_ender> ender_;
};

} // namespace cofork
