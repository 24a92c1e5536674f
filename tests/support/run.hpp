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

struct spawned {
    bool ended = false;
    std::exception_ptr error;
    bool abandoned = false; ///< nobody is there any more who wants the value
};

// A value of any type: co_spawn itself wants one that can be default-constructed.
template <typename T>
asio::awaitable<void> keep(asio::awaitable<T> work, std::shared_ptr<spawned> state, std::optional<T>* into)
{
    T value = co_await std::move(work);
    if (!state->abandoned)
        into->emplace(std::move(value));
}

inline asio::awaitable<void> keep(asio::awaitable<void> work, const std::shared_ptr<spawned>&, std::optional<char>*)
{
    return work;
}

// Not a template: what Asio makes of a co_spawn is a fifth of what a test of one call takes to compile.
inline void spawn(asio::io_context& context, asio::awaitable<void> work, std::shared_ptr<spawned> state)
{
    asio::co_spawn(context, std::move(work), [state = std::move(state)](std::exception_ptr error) {
        state->ended = true;
        state->error = error;
    });
}

inline void wait_for_end(asio::io_context& context, const spawned& state, std::chrono::nanoseconds limit)
{
    const auto end = std::chrono::steady_clock::now() + limit;
    context.restart();
    while (!state.ended && context.run_one_until(end) != 0)
        ;
    if (!state.ended && context.stopped())
        FAIL("the coroutine waits for something, and the context has nothing left that could wake it");
    if (!state.ended)
        FAIL("the coroutine has not ended within "
             << std::chrono::duration_cast<std::chrono::milliseconds>(limit).count() << " ms");
    if (state.error)
        std::rethrow_exception(state.error);
}

} // namespace detail

/// Starts `work` on `context`, for tests that do something while it runs; `finish` gives its value.
template <typename T>
class started {
public:
    started(asio::io_context& context, asio::awaitable<T> work) : context_{context}
    {
        detail::spawn(context, detail::keep(std::move(work), state_, &value_), state_);
    }
    started(const started&) = delete;
    started& operator=(const started&) = delete;
    ~started() { state_->abandoned = true; }

    [[nodiscard]] bool ended() const { return state_->ended; }

    /// Runs the context until `work` has ended, and gives its value or throws what it threw. Other work of the context may be
    /// left over.
    ///
    /// Fails the test when `limit` passes, or when the context runs out of work while `work` still waits. The coroutine
    /// then stays in the context, which destroys it.
    T finish(std::chrono::nanoseconds limit = long_enough)
    {
        detail::wait_for_end(context_, *state_, limit);
        if constexpr (!std::is_void_v<T>)
            return std::move(*value_);
    }

private:
    asio::io_context& context_;
    std::shared_ptr<detail::spawned> state_ = std::make_shared<detail::spawned>(); // the coroutine may outlive us
    std::optional<std::conditional_t<std::is_void_v<T>, char, T>> value_;
};

/// Runs `work` on `context` to its end: see started::finish.
template <typename T>
T run(asio::io_context& context, asio::awaitable<T> work, std::chrono::nanoseconds limit = long_enough)
{
    return started<T>{context, std::move(work)}.finish(limit);
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
