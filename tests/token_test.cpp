// Every verb with any completion token: what the token makes of it, where the handler runs, what it allocates with.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/outcome.hpp>
#include <cofork/parallel.hpp>
#include <cofork/run.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/redirect_error.hpp>
#include <asio/strand.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using test::hangs;

namespace {

// A token of our own: packs initiation and arguments, and starts when it is called with another token.
struct later_t {};

template <typename Initiation, typename Args, typename Signature>
struct packed;
template <typename Initiation, typename... Args, typename Signature>
struct packed<Initiation, std::tuple<Args...>, Signature> {
    Initiation initiation;
    std::tuple<Args...> args;

    template <typename Token>
    auto operator()(Token&& token) &&
    {
        return std::apply(
            [&](Args&... a) {
                return asio::async_initiate<Token, Signature>(std::move(initiation), token, std::move(a)...);
            },
            args);
    }
};

// as_tuple by hand: the awaited value is a tuple of all arguments, the error among them.
template <typename Token>
struct tupled_t {
    Token inner;
};

template <typename Handler, typename... Args>
struct tupled_handler {
    Handler handler;

    using executor_type = asio::associated_executor_t<Handler>;
    executor_type get_executor() const noexcept { return asio::get_associated_executor(handler); }
    using cancellation_slot_type = asio::associated_cancellation_slot_t<Handler>;
    cancellation_slot_type get_cancellation_slot() const noexcept
    {
        return asio::get_associated_cancellation_slot(handler);
    }
    using allocator_type = asio::associated_allocator_t<Handler>;
    allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }

    void operator()(Args... args) { std::move(handler)(std::tuple<Args...>{std::move(args)...}); }
};

// Counts what is allocated and freed with it.
struct ledger {
    std::atomic<int> allocations{0};
    std::atomic<int> live{0};
};

template <typename T>
struct counting_allocator {
    using value_type = T;
    ledger* to;

    explicit counting_allocator(ledger& l) noexcept : to{&l} {}
    template <typename U>
    counting_allocator(const counting_allocator<U>& other) noexcept : to{other.to}
    {
    }
    T* allocate(std::size_t n)
    {
        ++to->allocations;
        ++to->live;
        return std::allocator<T>{}.allocate(n);
    }
    void deallocate(T* p, std::size_t n)
    {
        --to->live;
        std::allocator<T>{}.deallocate(p, n);
    }
    template <typename U>
    bool operator==(const counting_allocator<U>& other) const noexcept
    {
        return to == other.to;
    }
};

template <typename F>
struct with_allocator {
    F f;
    ledger* to;

    using allocator_type = counting_allocator<void>;
    allocator_type get_allocator() const noexcept { return allocator_type{*to}; }
    template <typename... Args>
    void operator()(Args&&... args)
    {
        f(std::forward<Args>(args)...);
    }
};

} // namespace

template <typename Signature>
struct asio::async_result<later_t, Signature> {
    template <typename Initiation, typename... Args>
    static auto initiate(Initiation&& initiation, later_t, Args&&... args)
    {
        return packed<std::decay_t<Initiation>, std::tuple<std::decay_t<Args>...>, Signature>{
            std::forward<Initiation>(initiation), {std::forward<Args>(args)...}};
    }
};

template <typename Token, typename... Args>
struct asio::async_result<tupled_t<Token>, void(Args...)> {
    template <typename Initiation, typename... InitArgs>
    static auto initiate(Initiation&& initiation, tupled_t<Token> token, InitArgs&&... init_args)
    {
        return asio::async_initiate<Token, void(std::tuple<Args...>)>(
            [](auto handler, auto inner, auto... rest) {
                std::move(inner)(tupled_handler<decltype(handler), Args...>{std::move(handler)}, std::move(rest)...);
            },
            token.inner, std::forward<Initiation>(initiation), std::forward<InitArgs>(init_args)...);
    }
};

TEST_CASE("a plain callback is called once, from the context, after the call has returned", "[token]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u, 2u);
    const bool fails = GENERATE(false, true);
    asio::io_context context;
    const auto items = test::numbers(10);
    int calls = 0;
    cofork::parallel(context.get_executor(), test::square, items,
        {.workers = workers, .attempts = fails ? 0u : 1u}, [&](std::exception_ptr e, std::vector<int> values) {
            ++calls;
            CHECK((e != nullptr) == fails);
            CHECK(values.size() == (fails ? 0 : 10));
        });
    CHECK(calls == 0);
    context.run_for(test::long_enough);
    CHECK(calls == 1);
    CHECK(context.stopped());
}

TEST_CASE("without options a token may follow the items at once", "[token]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(4);
    int calls = 0;
    auto values = [&](std::exception_ptr, std::vector<int>) { ++calls; };
    auto outcomes = [&](std::error_code, std::vector<cofork::outcome<int>>) { ++calls; };
    cofork::parallel(test::square, items, asio::bind_executor(context, values));
    cofork::try_parallel(context.get_executor(), test::square, items, outcomes);
    cofork::run(context.get_executor(), test::square, 3, [&](std::exception_ptr, int nine) { calls += nine; });
    cofork::try_run(test::square, 3, asio::bind_executor(context, [&](std::error_code, cofork::outcome<int>) { ++calls; }));
    context.run_for(test::long_enough);
    CHECK(calls == 12);
}

TEST_CASE("use_future gives the value, or the error", "[token]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(10);

    auto values = cofork::parallel(context.get_executor(), test::square, items, {}, asio::use_future);
    auto nothing = cofork::parallel(context.get_executor(), [](int) {}, items, {}, asio::use_future);
    auto one = cofork::run(context.get_executor(), test::square, 7, asio::use_future);
    auto failed = cofork::run(context.get_executor(), []() -> int { throw 1; }, asio::use_future);
    context.run_for(test::long_enough);

    CHECK(values.get()[9] == 81);
    nothing.get();
    CHECK(one.get() == 49);
    CHECK_THROWS_AS(failed.get(), cofork::item_error);
}

TEST_CASE("detached needs nobody", "[token]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> sum;
    asio::io_context context;
    const auto items = test::numbers(10);
    cofork::parallel(context.get_executor(), [&](int x) { *sum += x; }, items, {}, asio::detached);
    context.run_for(test::long_enough);
    CHECK(*sum == 45);
}

TEST_CASE("redirect_error puts the error of a try_parallel into a variable", "[token]")
{
    const test::leaves_nothing guard;
    auto call = [](std::error_code& ec) -> asio::awaitable<std::size_t> {
        const auto items = test::numbers(5);
        auto outcomes = co_await cofork::try_parallel(
            hangs, items, {.deadline = 30ms}, asio::redirect_error(asio::use_awaitable, ec));
        co_return outcomes.size();
    };
    std::error_code ec;
    CHECK(test::run(call(ec)) == 5);
    CHECK(ec == cofork::errc::deadline);
}

TEST_CASE("a token that makes a tuple of error and values gives both", "[token]")
{
    const test::leaves_nothing guard;
    auto call = []() -> asio::awaitable<void> {
        const auto items = test::numbers(5);
        const tupled_t<asio::use_awaitable_t<>> both{asio::use_awaitable};
        auto early = co_await cofork::try_parallel(hangs, items, {.deadline = 30ms}, both);
        CHECK(std::get<0>(early) == cofork::errc::deadline);
        CHECK(std::get<1>(early).size() == 5);
        auto whole = co_await cofork::try_parallel(test::square, items, {}, both);
        CHECK_FALSE(std::get<0>(whole));
        CHECK(std::get<1>(whole)[4].value() == 16);
    };
    test::run(call());
}

TEST_CASE("a packed call starts when it is started, as often as it was made", "[token]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    auto items = test::numbers(5);
    auto packed_call = cofork::parallel(context.get_executor(), test::square, items, {.workers = 2}, later_t{});
    context.run_for(10ms);
    CHECK(test::children().empty());
    items[0] = 10; // borrowed until completion: read when it runs

    auto values = std::move(packed_call)(asio::use_future);
    context.restart();
    context.run_for(test::long_enough);
    CHECK(values.get() == std::vector<int>{100, 1, 4, 9, 16});
}

TEST_CASE("the handler runs on its own executor", "[token][executor]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 2u);
    asio::io_context work;
    asio::io_context own;
    const auto items = test::numbers(5);
    bool called = false;
    cofork::parallel(work.get_executor(), test::square, items, {.workers = workers},
        asio::bind_executor(own, [&](std::exception_ptr, std::vector<int>) {
            called = true;
            CHECK(own.get_executor().running_in_this_thread());
            CHECK_FALSE(work.get_executor().running_in_this_thread());
        }));
    REQUIRE(test::run_until(work, [&] { return work.stopped() && test::children().empty(); }));
    CHECK_FALSE(called);
    own.run_for(test::long_enough); // it was kept at work meanwhile
    CHECK(called);
}

TEST_CASE("a handler on a strand runs in that strand", "[token][executor]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto strand = asio::make_strand(context);
    const auto items = test::numbers(5);
    int calls = 0;
    cofork::parallel(test::square, items, {}, asio::bind_executor(strand, [&](std::exception_ptr e, std::vector<int>) {
        CHECK_FALSE(e);
        CHECK(strand.running_in_this_thread());
        ++calls;
    }));
    asio::co_spawn(
        strand,
        [](int& n) -> asio::awaitable<void> {
            const auto some = test::numbers(5);
            auto values = co_await cofork::parallel(test::square, some);
            n += static_cast<int>(values.size());
        }(calls),
        asio::detached);
    context.run_for(test::long_enough);
    CHECK(calls == 6);
}

TEST_CASE("the handler's allocator is used, and everything is freed before it runs", "[token][allocator]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(5);
    ledger used;
    std::optional<int> live_in_handler;
    auto handle = [&](std::exception_ptr, std::vector<int>) { live_in_handler = used.live; };
    cofork::parallel(context.get_executor(), test::square, items, {}, with_allocator<decltype(handle)>{handle, &used});
    context.run_for(test::long_enough);
    CHECK(live_in_handler.value_or(-1) == 0);
    CHECK(used.allocations > 0);
    CHECK(used.live == 0);
}

TEST_CASE("a handler may be move-only", "[token]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(5);
    int got = 0;
    cofork::parallel(context.get_executor(), test::square, items, {},
        [&got, owned = std::make_unique<int>(3)](std::exception_ptr, std::vector<int> v) { got = *owned + v[1]; });
    context.run_for(test::long_enough);
    CHECK(got == 4);
}
