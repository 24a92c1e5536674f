#pragma once
// run() and try_run(): one call of f in another process.

#include <cofork/detail/collect.hpp>
#include <cofork/detail/start.hpp>

#include <asio/awaitable.hpp>

namespace cofork {

namespace detail {

template <typename R>
struct value_signature {
    using type = void(std::exception_ptr, R);
};
template <>
struct value_signature<void> {
    using type = void(std::exception_ptr);
};
template <typename R>
struct outcome_signature {
    using type = void(std::error_code, outcome<R>);
};

template <typename R, typename Handler>
struct run_sink_for {
    using type = value_sink<R, Handler>;
};
template <typename Handler>
struct run_sink_for<void, Handler> {
    using type = values_sink<void, Handler>;
};
template <typename R, typename Handler>
class run_sink : public run_sink_for<R, Handler>::type {
public:
    run_sink(Handler handler, const asio::any_io_executor& io) : run_sink_for<R, Handler>::type{std::move(handler), io} {}
};

template <template <typename, typename> class Sink, template <typename> class Signature, typename Place, typename F, typename Token,
    typename... Args>
auto one_call(Place place, F&& f, options o, Token&& token, Args&&... args)
{
    require_named_callable<F, is_awaitable_token<std::decay_t<Token>>>();
    using task = single_task_of<Place, callable_arg<F>, std::decay_t<Args>...>;
    using signature = typename Signature<typename task::result>::type;
    using arguments = std::tuple<std::decay_t<Args>...>;
    using start = launch<task, Sink, Place, callable_arg<F>, arguments>;
    return asio::async_initiate<Token, signature>(
        start{place, o, carried<callable_arg<F>>{std::forward<F>(f)},
            carried<arguments>{arguments{std::forward<Args>(args)...}}},
        token);
}

// The arguments of run() are f's, then options and token where they are given. They are found by what f takes.

template <typename Place, typename F, typename... Args>
inline constexpr bool takes = Place::snapshot
    ? std::invocable<std::decay_t<F>&, std::decay_t<Args>...>
    : std::invocable<std::decay_t<F>&, std::decay_t<Args>...> || takes_state<std::decay_t<F>, std::decay_t<Args>...>;

template <template <typename, typename> class Sink, template <typename> class Signature, typename Place, typename F, typename Tuple,
    std::size_t... Is, typename Token>
auto split(Place place, F&& f, Tuple&& all, std::index_sequence<Is...>, const options& o, Token&& token)
{
    return one_call<Sink, Signature>(
        place, std::forward<F>(f), o, std::forward<Token>(token), std::get<Is>(std::forward<Tuple>(all))...);
}

/// How many of the arguments are f's own: all, all but a token, all but options, all but both.
template <typename Place, typename F, typename... All>
consteval int own_arguments()
{
    constexpr int n = sizeof...(All);
    constexpr auto first = []<std::size_t... Is>(std::index_sequence<Is...>) {
        return takes<Place, F, std::tuple_element_t<Is, std::tuple<All...>>...>;
    };
    if constexpr (first(std::make_index_sequence<n>{}))
        return n;
    else if constexpr (n >= 1) {
        if constexpr (first(std::make_index_sequence<n - 1>{}))
            return n - 1;
        else if constexpr (n >= 2) {
            if constexpr (first(std::make_index_sequence<n - 2>{}))
                return n - 2;
        }
    }
    return -1;
}

template <template <typename, typename> class Sink, template <typename> class Signature, typename Place, typename F, typename... All>
auto run_in(Place place, F&& f, All&&... all)
{
    constexpr int n = sizeof...(All);
    constexpr int own = own_arguments<Place, F, All...>();
    static_assert(own >= 0, "cofork: f cannot be called with these arguments (after them may come options and a completion token)");
    if constexpr (own >= 0) {
        constexpr auto mine = std::make_index_sequence<static_cast<std::size_t>(own)>{};
        std::tuple<All&&...> given{std::forward<All>(all)...};
        if constexpr (own == n)
            return split<Sink, Signature>(place, std::forward<F>(f), std::move(given), mine, options{}, default_token{});
        else {
            using next = std::remove_cvref_t<std::tuple_element_t<own, std::tuple<All...>>>;
            if constexpr (!std::same_as<next, options>)
                return split<Sink, Signature>(
                    place, std::forward<F>(f), std::move(given), mine, options{}, std::get<n - 1>(std::move(given)));
            else if constexpr (own + 1 == n)
                return split<Sink, Signature>(
                    place, std::forward<F>(f), std::move(given), mine, std::get<own>(given), default_token{});
            else
                return split<Sink, Signature>(
                    place, std::forward<F>(f), std::move(given), mine, std::get<own>(given), std::get<n - 1>(std::move(given)));
        }
    }
}

} // namespace detail

// One call, in all its forms; options and token may each be left out:
//
//   run(          f, args..., options, token)     in a snapshot: one process, forked from this moment's memory
//   run(executor, f, args..., options, token)
//   run(pool,     f, args..., options, token)     in a worker of the pool; arguments travel by codec
//
// Arguments are copied or moved in; a large string or vector that is one, or a shared_ptr to const in one, is sent to a pool
// without a further copy. Everything else is as parallel.hpp says.

/// f(args...), called in another process. Completes with `void(std::exception_ptr, R)`; throws item_error when it fails.
template <typename F, typename... Args>
    requires(!detail::place_like<F>)
auto run(F&& f, Args&&... args)
{
    return detail::run_in<detail::run_sink, detail::value_signature>(
        detail::own_place{}, std::forward<F>(f), std::forward<Args>(args)...);
}
template <detail::place_like P, typename F, typename... Args>
auto run(P&& place, F&& f, Args&&... args)
{
    return detail::run_in<detail::run_sink, detail::value_signature>(
        detail::make_place(place), std::forward<F>(f), std::forward<Args>(args)...);
}

/// The same, with the failure as a value. Completes with `void(std::error_code, outcome<R>)`.
template <typename F, typename... Args>
    requires(!detail::place_like<F>)
auto try_run(F&& f, Args&&... args)
{
    return detail::run_in<detail::outcome_sink, detail::outcome_signature>(
        detail::own_place{}, std::forward<F>(f), std::forward<Args>(args)...);
}
template <detail::place_like P, typename F, typename... Args>
auto try_run(P&& place, F&& f, Args&&... args)
{
    return detail::run_in<detail::outcome_sink, detail::outcome_signature>(
        detail::make_place(place), std::forward<F>(f), std::forward<Args>(args)...);
}

} // namespace cofork
