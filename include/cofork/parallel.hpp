#pragma once
// parallel() and try_parallel(): f over items, each in some worker process.

#include <cofork/detail/collect.hpp>
#include <cofork/detail/start.hpp>

namespace cofork {

// Both verbs, in all their forms:
//
//   parallel(          f, items [, options] [, token])   in a snapshot: workers are forked from this moment's memory
//   parallel(executor, f, items [, options] [, token])   the same, for tokens that bring no executor
//   parallel(pool,     f, items [, options] [, token])   in the pool's workers
//
// f        In a snapshot any callable, captures and all: they are inherited. It is copied or moved in; one that cannot be
//          copied is borrowed when it is an lvalue. In a pool a function, a captureless lambda or by_bytes(...). It runs in
//          another process: what it writes to memory is lost with that process.
// items    Any input range, or a feed. An lvalue is borrowed until completion, an rvalue moved in, a view copied. In a
//          snapshot a range with random access, and a sized one of objects, is read in the worker by index, and never
//          copied or encoded; other items, and all items in a pool, travel by codec. Large strings and vectors of blocks
//          (from 64 KiB on) are sent from where they are, a MiB at a time, when they are in an rvalue vector, deque or list,
//          made by the range, pushed to a feed, or a shared_ptr to const.
// Threads  The range is iterated, and options::on_error and options::progress are called, on the handler's executor (in a
//          pool: on the pool's), through a strand. The handler is called on its own executor, never before the
//          initiating call has returned.
// Cancellation  terminal: workers that run items of the call are killed and reaped. partial, total: nothing new starts,
//          what runs may end. Either way the call completes with operation_aborted.
// Cost     A snapshot: one fork of this process, which takes some 15 ms for each GiB of small pages (the caller waits for
//          that), plus a fork from the nursery per worker. In both: for many small items far below a microsecond each,
//          because they travel in batches.
//
// Failure of the call as a whole is a std::system_error: errc, or what the system said.

/// All of f(item), in the order of items. Completes with `void(std::exception_ptr, std::vector<R>)`, without the vector
/// when f returns nothing.
///
/// The first failure in time that no further attempt mends ends the call: what else runs is killed, and an item_error is
/// thrown. What the range throws is thrown as it is.
template <typename F, detail::item_source I, typename Token = detail::default_token>
    requires(!detail::place_like<F>)
auto parallel(F&& f, I&& items, options o = {}, Token&& token = {})
{
    return detail::over_items<detail::values_sink, detail::values_signature>(
        detail::own_place{}, std::forward<F>(f), std::forward<I>(items), o, std::forward<Token>(token));
}
template <typename F, detail::item_source I, typename Token>
    requires(!detail::place_like<F> && !std::convertible_to<Token, options>)
auto parallel(F&& f, I&& items, Token&& token)
{
    return detail::over_items<detail::values_sink, detail::values_signature>(
        detail::own_place{}, std::forward<F>(f), std::forward<I>(items), options{}, std::forward<Token>(token));
}
template <detail::place_like P, typename F, detail::item_source I, typename Token = detail::default_token>
auto parallel(P&& place, F&& f, I&& items, options o = {}, Token&& token = {})
{
    return detail::over_items<detail::values_sink, detail::values_signature>(
        detail::make_place(place), std::forward<F>(f), std::forward<I>(items), o, std::forward<Token>(token));
}
template <detail::place_like P, typename F, detail::item_source I, typename Token>
    requires(!std::convertible_to<Token, options>)
auto parallel(P&& place, F&& f, I&& items, Token&& token)
{
    return detail::over_items<detail::values_sink, detail::values_signature>(
        detail::make_place(place), std::forward<F>(f), std::forward<I>(items), options{}, std::forward<Token>(token));
}

/// Every outcome, in the order of items, whatever happened to the others. Completes with
/// `void(std::error_code, std::vector<outcome<R>>)`.
///
/// When the call ends early (cancelled, deadline), items that it overtook have a failure of kind `cancelled`, and the
/// error says why: the default token throws it as std::system_error, as_tuple gives both. A range that throws gives
/// its next item that exception as failure, and ends there.
template <typename F, detail::item_source I, typename Token = detail::default_token>
    requires(!detail::place_like<F>)
auto try_parallel(F&& f, I&& items, options o = {}, Token&& token = {})
{
    return detail::over_items<detail::outcomes_sink, detail::outcomes_signature>(
        detail::own_place{}, std::forward<F>(f), std::forward<I>(items), o, std::forward<Token>(token));
}
template <typename F, detail::item_source I, typename Token>
    requires(!detail::place_like<F> && !std::convertible_to<Token, options>)
auto try_parallel(F&& f, I&& items, Token&& token)
{
    return detail::over_items<detail::outcomes_sink, detail::outcomes_signature>(
        detail::own_place{}, std::forward<F>(f), std::forward<I>(items), options{}, std::forward<Token>(token));
}
template <detail::place_like P, typename F, detail::item_source I, typename Token = detail::default_token>
auto try_parallel(P&& place, F&& f, I&& items, options o = {}, Token&& token = {})
{
    return detail::over_items<detail::outcomes_sink, detail::outcomes_signature>(
        detail::make_place(place), std::forward<F>(f), std::forward<I>(items), o, std::forward<Token>(token));
}
template <detail::place_like P, typename F, detail::item_source I, typename Token>
    requires(!std::convertible_to<Token, options>)
auto try_parallel(P&& place, F&& f, I&& items, Token&& token)
{
    return detail::over_items<detail::outcomes_sink, detail::outcomes_signature>(
        detail::make_place(place), std::forward<F>(f), std::forward<I>(items), options{}, std::forward<Token>(token));
}

} // namespace cofork
