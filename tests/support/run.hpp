#pragma once
// Runs a coroutine to its end, or a context until something holds, with a limit.

#include "catch.hpp"

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

namespace test {

/// Far beyond what any test takes, even under a sanitizer on a busy machine: it ends a hang, it measures nothing.
inline constexpr std::chrono::seconds long_enough{30};

namespace detail {

template <typename T>
struct answer {
    bool ended = false;
    std::exception_ptr error;
    std::optional<T> value;
};

// A value of any type: co_spawn itself wants one that can be default-constructed.
template <typename T>
asio::awaitable<void> keep(asio::awaitable<T> work, std::shared_ptr<answer<T>> into)
{
    into->value.emplace(co_await std::move(work));
}

inline asio::awaitable<void> keep(asio::awaitable<void> work, std::shared_ptr<answer<char>> into)
{
    co_await std::move(work);
    into->value.emplace();
}

} // namespace detail

/// Runs `work` on `context` until it has ended, and gives its value or throws what it threw. Other work of the context
/// may be left over.
///
/// Fails the test when `limit` passes, or when the context runs out of work while `work` still waits. The coroutine
/// then stays in the context, which destroys it.
template <typename T>
T run(asio::io_context& context, asio::awaitable<T> work, std::chrono::nanoseconds limit = long_enough)
{
    // Shared with the handler: when the test fails here, the coroutine outlives this frame.
    const auto answer = std::make_shared<detail::answer<std::conditional_t<std::is_void_v<T>, char, T>>>();
    asio::co_spawn(context, detail::keep(std::move(work), answer), [answer](std::exception_ptr error) {
        answer->ended = true;
        answer->error = error;
    });

    const auto end = std::chrono::steady_clock::now() + limit;
    context.restart();
    while (!answer->ended && context.run_one_until(end) != 0)
        ;
    if (!answer->ended && context.stopped())
        FAIL("the coroutine waits for something, and the context has nothing left that could wake it");
    if (!answer->ended)
        FAIL("the coroutine has not ended within "
             << std::chrono::duration_cast<std::chrono::milliseconds>(limit).count() << " ms");
    if (answer->error)
        std::rethrow_exception(answer->error);
    if constexpr (!std::is_void_v<T>)
        return std::move(*answer->value);
}

/// The same on a context of its own.
template <typename T>
T run(asio::awaitable<T> work, std::chrono::nanoseconds limit = long_enough)
{
    asio::io_context context{1};
    return run(context, std::move(work), limit);
}

/// What `context` was used for has left nothing in it that it would wait for: no timer, no operation. What is a moment late
/// may end first; timers of calls are longer.
inline void runs_dry(asio::io_context& context)
{
    context.restart();
    context.run_for(std::chrono::milliseconds{20});
    context.poll(); // where the machine stood still for so long, the loop has done nothing yet
    CHECK(context.stopped());
}

/// Runs `context` until `holds()`.
template <typename Condition>
bool run_until(asio::io_context& context, Condition holds, std::chrono::nanoseconds limit = long_enough)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() >= end)
            return holds();
        if (context.stopped())
            context.restart();
        context.run_one_for(std::chrono::milliseconds{1});
    }
    return true;
}

} // namespace test
