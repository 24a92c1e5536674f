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
/// It brings an event loop of its own. When the call uses a pool whose io_context nobody runs, it runs that too: other
/// handlers of that context may then be called from here. Not from inside a coroutine or a handler: it would block
/// the loop that it waits for.
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
