#pragma once
// wait(): runs an awaitable to its end and returns its value, for programs that have no event loop.

#include <cofork/detail/driven_context.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace cofork {

/// Runs `op` to its end, blocking, and returns its value or throws what it throws:
///
///     std::vector<int> squares = cofork::wait(cofork::parallel(square, numbers));
///
/// It brings an event loop of its own. When `op` uses a pool, or a stream with a place of its own, it runs their io_contexts, too,
/// since nobody else may: other handlers of these contexts may then be called from here, also where other threads run them. What such
/// a handler throws is thrown when `op` has ended. Not from inside a coroutine or a handler: it would block the loop that it waits for.
/// What `op` leaves behind on its own executor is destroyed at the end; no call may be pending there.
template <typename T>
T wait(asio::awaitable<T> op)
{
    asio::io_context loop;
    std::exception_ptr failed;
    detail::driven_context driven{loop};
    if constexpr (std::is_void_v<T>) {
        asio::co_spawn(loop, std::move(op), [&](std::exception_ptr e) {
            failed = std::move(e);
            driven.finished();
        });
        driven.run();
        if (failed)
            std::rethrow_exception(failed);
    }
    else {
        std::optional<T> value;
        // Not co_spawn of `op` itself: its handler would need a T even where there is an exception.
        auto keep = [](asio::awaitable<T> inner, std::optional<T>& to) -> asio::awaitable<void> {
            to.emplace(co_await std::move(inner));
        };
        asio::co_spawn(loop, keep(std::move(op), value), [&](std::exception_ptr e) {
            failed = std::move(e);
            driven.finished();
        });
        driven.run();
        if (failed)
            std::rethrow_exception(failed);
        return std::move(*value);
    }
}

} // namespace cofork
