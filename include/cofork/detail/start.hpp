#pragma once
// From the arguments of a verb to a call in progress: the same path for every verb and every place.

#include <cofork/detail/operation.hpp>
#include <cofork/options.hpp>
#include <cofork/pool.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/execution/context.hpp>
#include <asio/query.hpp>
#include <asio/system_context.hpp>
#include <asio/use_awaitable.hpp>

#include <concepts>
#include <type_traits>

namespace cofork::detail {

using default_token = asio::use_awaitable_t<>;

template <typename T>
concept executor_like = std::convertible_to<const std::remove_cvref_t<T>&, asio::any_io_executor>;
template <typename T>
concept pool_like = std::same_as<std::remove_cvref_t<T>, pool>;
/// The first argument that says where: an executor for a snapshot's callbacks, or a pool.
template <typename T>
concept place_like = executor_like<T> || pool_like<T>;

template <typename T>
inline constexpr bool is_awaitable_token = false;
template <typename E>
inline constexpr bool is_awaitable_token<asio::use_awaitable_t<E>> = true;
/// as_tuple(use_awaitable), redirect_error(use_awaitable, ec) and the like.
template <template <typename...> class Adapter, typename E, typename... More>
inline constexpr bool is_awaitable_token<Adapter<asio::use_awaitable_t<E>, More...>> = true;

struct no_executor {};

/// Of Asio's own pool of threads, which has no loop: as use_future has it. From Asio 1.28 on its type does not tell; the call
/// then fails with errc::threads_running.
template <typename Executor>
concept of_system_context = requires(const Executor& ex) {
    { asio::query(ex, asio::execution::context) } -> std::same_as<asio::system_context&>;
};

/// Whether a handler comes with the executor of a loop. Which one Asio takes for a handler without one depends on its version.
template <typename Handler, typename Executor = asio::associated_executor_t<Handler, no_executor>>
concept brings_executor = !std::same_as<Executor, no_executor> && !of_system_context<Executor>
    && std::convertible_to<Executor, asio::any_io_executor>;

/// Where a call runs, in a form that can be kept: a token may start it later.
struct own_place { // a snapshot, on the handler's executor
    static constexpr bool snapshot = true;

    template <typename Handler>
    asio::any_io_executor executor(const Handler& handler) const
    {
        static_assert(
            brings_executor<Handler>,
            "cofork: this completion token brings no executor: pass one first, as in parallel(executor, f, items, {}, token)");
        return asio::get_associated_executor(handler);
    }
    std::shared_ptr<call_handle> start(const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> j) const
    {
        return start_snapshot(ex, o, std::move(j));
    }
};

struct executor_place { // a snapshot, on this executor
    static constexpr bool snapshot = true;
    asio::any_io_executor ex;

    template <typename Handler>
    asio::any_io_executor executor(const Handler&) const
    {
        return ex;
    }
    std::shared_ptr<call_handle> start(const asio::any_io_executor& on, const options& o, std::shared_ptr<job> j) const
    {
        return start_snapshot(on, o, std::move(j));
    }
};

struct pool_place {
    static constexpr bool snapshot = false;
    pool* where;

    template <typename Handler>
    asio::any_io_executor executor(const Handler& handler) const
    {
        const asio::any_io_executor ex = where->get_executor();
        if constexpr (brings_executor<Handler>) {
            if (!ex) // the pool's context is gone: the handler's can tell so
                return asio::get_associated_executor(handler);
        }
        return ex;
    }
    std::shared_ptr<call_handle> start(const asio::any_io_executor& on, const options& o, std::shared_ptr<job> j) const
    {
        return start_in_pool(*where, on, o, std::move(j));
    }
};

inline pool_place make_place(pool& p)
{
    require_original(p);
    return {&p};
}
template <executor_like E>
executor_place make_place(const E& ex)
{
    return {asio::any_io_executor{ex}};
}

template <typename Place>
using place_of = decltype(make_place(std::declval<Place>()));

/// The task for f and items in a place. In this process (workers = 0) a pool's call runs f as the pool would.
template <typename Place, typename F, typename I>
using task_of = std::conditional_t<Place::snapshot, snapshot_task<F, I>, pool_task<F, I>>;
template <typename Place, typename F, typename... Args>
using single_task_of = std::conditional_t<Place::snapshot, snapshot_call<F, Args...>, pool_call<F, Args...>>;

/// Begins the call of a task's job. Wakes it when its feed grows, if it takes from one.
template <typename Place, typename Task>
std::shared_ptr<call_handle> begin(
    const Place& place, const asio::any_io_executor& ex, options& o, Task& task, std::shared_ptr<job> its_job)
{
    task.settle();
    if constexpr (requires { Task::consumes; })
        o.fresh = o.fresh || (Task::consumes && o.attempts > 1); // a second attempt must not see what the first moved out
    if constexpr (requires { task.source().listen(nullptr); }) {
        const auto keep = its_job; // in another thread the call may be over before it has been started here
        auto handle = place.start(ex, o, std::move(its_job));
        task.source().listen([weak = std::weak_ptr<call_handle>{handle}] {
            if (const auto call = weak.lock())
                call->poke();
        });
        return handle;
    }
    else
        return place.start(ex, o, std::move(its_job));
}

/// An argument on its way through a token that may start the operation later: what is borrowed as an address, the
/// rest by value.
template <typename T>
class carried {
    static constexpr bool by_address = std::is_lvalue_reference_v<T>;
    using stored = std::conditional_t<by_address, std::remove_reference_t<T>*, T>;

public:
    template <typename U>
        requires(!std::same_as<std::remove_cvref_t<U>, carried>)
    explicit carried(U&& value) : value_(pack(std::forward<U>(value)))
    {
    }
    T&& get() noexcept
    {
        if constexpr (by_address)
            return *value_;
        else
            return std::move(value_);
    }

private:
    template <typename U>
    static decltype(auto) pack(U&& value) noexcept
    {
        if constexpr (by_address)
            return std::addressof(value);
        else
            return std::forward<U>(value);
    }
    stored value_;
};

/// What becomes of f and of items at the moment of the call: see tasks.hpp and input.hpp for who borrows what.
template <typename F>
using callable_arg = std::conditional_t<borrows_callable<F>, F, std::decay_t<F>>;
template <typename I>
using items_arg = std::conditional_t<borrows<I> && !is_feed<std::remove_cvref_t<I>>, I, std::remove_cvref_t<I>>;

/// The initiating function of the verbs that complete once, with all that they were given.
template <typename Task, template <typename, typename> class Sink, typename Place, typename F, typename Input>
struct launch {
    Place place;
    options o;
    carried<F> f;
    carried<Input> input;

    template <typename Handler>
    void operator()(Handler&& handler)
    {
        using sink = Sink<typename Task::result, std::decay_t<Handler>>;
        using allocator = asio::associated_allocator_t<std::decay_t<Handler>>;
        const asio::any_io_executor ex = place.executor(handler);
        const auto cancel = listen_to_slot_of(handler);
        const allocator from = asio::get_associated_allocator(handler);
        auto& typed = task_job<Task, sink, allocator>::make(from, f.get(), input.get(), std::forward<Handler>(handler), ex);
        std::shared_ptr<job> kept = typed.kept();
        typed.prepare();
        const auto call = begin(place, ex, o, typed.task(), std::move(kept));
        if (cancel)
            cancel->started(call);
    }
};

/// Signatures of completion.
template <typename R>
struct values_signature {
    using type = void(std::exception_ptr, std::vector<R>);
};
template <>
struct values_signature<void> {
    using type = void(std::exception_ptr);
};
template <typename R>
struct outcomes_signature {
    using type = void(std::error_code, std::vector<outcome<R>>);
};

/// A verb over items: chooses the task, checks what must be checked at the call, and initiates.
template <template <typename, typename> class Sink, template <typename> class Signature, typename Place, typename F, typename I,
    typename Token>
auto over_items(Place place, F&& f, I&& items, const options& o, Token&& token)
{
    require_named_callable<F, is_awaitable_token<std::decay_t<Token>>>();
    using task = task_of<Place, callable_arg<F>, items_arg<I>>;
    using signature = typename Signature<typename task::result>::type;
    using start = launch<task, Sink, Place, callable_arg<F>, items_arg<I>>;
    return asio::async_initiate<Token, signature>(
        start{place, o, carried<callable_arg<F>>{std::forward<F>(f)}, carried<items_arg<I>>{std::forward<I>(items)}}, token);
}

} // namespace cofork::detail
