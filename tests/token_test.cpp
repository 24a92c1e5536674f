// Every verb with any completion token: where the handler runs, what it allocates with, how it is cancelled.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/cofork.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/detached.hpp>
#include <asio/error.hpp>
#include <asio/experimental/awaitable_operators.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using asio::cancellation_type;

namespace {

int hangs(int)
{
    test::hang();
}

/// A timer against items that never end, longer and longer until one has started.
asio::awaitable<void> cut_short_by_a_timer(std::atomic<int>& starts)
{
    using namespace asio::experimental::awaitable_operators;
    const auto f = [&starts](int) { // captures: only a snapshot takes it
        ++starts;
        test::hang();
    };
    const std::vector<int> items = test::numbers(10);
    asio::steady_timer timer{co_await asio::this_coro::executor};
    for (auto patience = 1ms; starts == 0; patience *= 2) {
        timer.expires_after(patience);
        const auto first = co_await (cofork::parallel(f, items, {.workers = 2}) || timer.async_wait(asio::use_awaitable));
        CHECK(first.index() == 1);
        CHECK(test::children().empty());
    }
}

/// A timer that is far longer than the call.
asio::awaitable<std::vector<int>> faster_than_a_timer()
{
    using namespace asio::experimental::awaitable_operators;
    const std::vector<int> items = test::numbers(5);
    asio::steady_timer timer{co_await asio::this_coro::executor, 10 * test::long_enough};
    auto first = co_await (cofork::parallel(test::square, items, {.workers = 2}) || timer.async_wait(asio::use_awaitable));
    REQUIRE(first.index() == 0);
    co_return std::get<0>(std::move(first));
}

std::error_code code_of(const std::exception_ptr& e)
{
    try {
        if (e)
            std::rethrow_exception(e);
    }
    catch (const std::system_error& error) {
        return error.code();
    }
    return {};
}

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

TEST_CASE("terminal cancellation kills what runs, and the call completes with operation_aborted", "[token][cancel]")
{
    const test::leaves_nothing guard;
    const bool in_pool = GENERATE(false, true);
    const bool early = GENERATE(false, true);
    asio::io_context context;
    std::optional<cofork::pool> pool;
    if (in_pool)
        pool.emplace(context, cofork::pool_options{.workers = 2});
    const auto items = test::numbers(10);
    asio::cancellation_signal stop;
    bool came = false;
    std::exception_ptr error;
    auto handler = asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, std::vector<int>) {
        came = true;
        error = e;
    });
    if (in_pool)
        cofork::parallel(*pool, hangs, items, {.workers = 2}, handler);
    else
        cofork::parallel(context.get_executor(), hangs, items, {.workers = 2}, handler);
    if (!early)
        REQUIRE(test::run_until(context, [&] { return in_pool ? pool->stats().busy > 0 : !test::children().empty(); }));

    stop.emit(cancellation_type::terminal);
    CHECK_FALSE(came);
    CHECK(test::run_until(context, [&] { return came; }));
    CHECK(code_of(error) == asio::error::operation_aborted);
    if (in_pool)
        CHECK(test::run(context, cofork::run(*pool, test::square, 2)) == 4);
    else
        CHECK(test::children().empty());
}

TEST_CASE("a snapshot call || timer ends with the first of both, and the other is cancelled", "[token][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const test::shared<std::atomic<int>> starts;
    test::run(context, cut_short_by_a_timer(*starts));
    CHECK(test::run(context, faster_than_a_timer()) == std::vector{0, 1, 4, 9, 16});
    test::runs_dry(context); // the long timer is gone too
}

TEST_CASE("partial and total cancellation let what runs end, and start nothing new", "[token][cancel]")
{
    const test::leaves_nothing guard;
    const auto type = GENERATE(cancellation_type::partial, cancellation_type::total);
    struct counts {
        std::atomic<int> starts;
        std::atomic<int> ends;
        std::atomic<bool> go;
    };
    const test::shared<counts> seen;
    asio::io_context context;
    const auto items = test::numbers(20);
    auto f = [&](int x) {
        ++seen->starts;
        test::eventually([&] { return seen->go.load(); }, 20s); // work-under-test: as slow as it must be
        ++seen->ends;
        return x;
    };
    asio::cancellation_signal stop;
    std::optional<std::error_code> ended;
    std::vector<cofork::outcome<int>> got;
    cofork::try_parallel(context.get_executor(), f, items, {.workers = 2, .chunk = 5},
        asio::bind_cancellation_slot(stop.slot(), [&](std::error_code ec, std::vector<cofork::outcome<int>> outcomes) {
            ended = ec;
            got = std::move(outcomes);
        }));
    REQUIRE(test::run_until(context, [&] { return seen->starts == 2; }));

    stop.emit(type);
    context.run_for(20ms);
    CHECK_FALSE(ended.has_value()); // two still run
    seen->go = true;
    CHECK(test::run_until(context, [&] { return ended.has_value(); }));
    CHECK(*ended == asio::error::operation_aborted);
    CHECK(seen->starts == 2);
    CHECK(seen->ends == 2);
    REQUIRE(got.size() == 20);
    int values = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
        if (got[i])
            ++values;
        else {
            CHECK(got[i].error().kind == cofork::failure_kind::cancelled);
            CHECK(got[i].error().index == i);
        }
    }
    CHECK(values == 2);
}

TEST_CASE("terminal cancellation after a gentle one kills", "[token][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const test::shared<std::atomic<int>> starts;
    const auto items = test::numbers(5);
    auto f = [&](int) -> int {
        ++*starts;
        test::hang();
    };
    asio::cancellation_signal stop;
    std::optional<std::error_code> ended;
    cofork::parallel(context.get_executor(), f, items, {.workers = 1},
        asio::bind_cancellation_slot(
            stop.slot(), [&](std::exception_ptr e, std::vector<int>) { ended = code_of(e); }));
    REQUIRE(test::run_until(context, [&] { return *starts == 1; })); // what has not begun would not begin any more
    stop.emit(cancellation_type::total);
    context.run_for(20ms);
    CHECK_FALSE(ended.has_value());
    stop.emit(cancellation_type::terminal);
    CHECK(test::run_until(context, [&] { return ended.has_value(); }));
    CHECK(*ended == asio::error::operation_aborted);
}

TEST_CASE("cancellation after the end, and without a start, does nothing", "[token][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(5);
    asio::cancellation_signal stop;
    int calls = 0;
    cofork::parallel(context.get_executor(), test::square, items, {},
        asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, std::vector<int>) {
            CHECK_FALSE(e);
            ++calls;
        }));
    context.run_for(test::long_enough);
    stop.emit(cancellation_type::terminal);
    context.restart();
    context.run_for(10ms);
    CHECK(calls == 1);
}

TEST_CASE("a call that loses a race against a timer leaves nothing running", "[token][cancel]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(1u, 3u);
    asio::io_context context;
    const auto items = test::numbers(10);
    auto call = [](const std::vector<int>& all, unsigned n) -> asio::awaitable<void> {
        co_await cofork::parallel(hangs, all, {.workers = n});
    };
    asio::cancellation_signal stop;
    std::optional<std::error_code> ended;
    asio::co_spawn(context, call(items, workers),
        asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e) { ended = code_of(e); }));
    asio::steady_timer timer{context, 30ms};
    timer.async_wait([&](std::error_code) { stop.emit(cancellation_type::terminal); });

    context.run_for(test::long_enough);
    REQUIRE(ended.has_value());
    CHECK(*ended == asio::error::operation_aborted);
    CHECK(test::children().empty());
    CHECK(context.stopped());
}

TEST_CASE(
    "a context that is destroyed with calls in flight frees their handlers and reaps their workers", "[token][context]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(10);
    const auto alive = std::make_shared<int>(0);
    {
        std::optional<asio::io_context> context{std::in_place};
        std::optional<cofork::pool> pool{std::in_place, *context, cofork::pool_options{.workers = 2}};
        cofork::parallel(context->get_executor(), hangs, items, {.workers = 2},
            [alive](std::exception_ptr, std::vector<int>) { FAIL("called"); });
        cofork::parallel(context->get_executor(), test::square, items, {.workers = 0},
            [alive](std::exception_ptr, std::vector<int>) { FAIL("called"); });
        cofork::parallel(*pool, hangs, items, {}, [alive](std::exception_ptr, std::vector<int>) { FAIL("called"); });
        auto held = [](const std::vector<int>& all, std::shared_ptr<int>) -> asio::awaitable<void> {
            auto results = cofork::stream(hangs, all, {.workers = 1});
            co_await results.next();
        };
        asio::co_spawn(*context, held(items, alive), asio::detached);
        if (GENERATE(false, true)) {
            for (int i = 0; i < 10; ++i)
                context->run_one_for(100ms);
        }
        if (GENERATE(false, true))
            pool.reset();
        context.reset();
        CHECK(alive.use_count() == 1);
    }
    CHECK(test::children().empty());
}

TEST_CASE("a context may be stopped and restarted under a call", "[token][context]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(2000);
    bool done = false;
    cofork::parallel(context.get_executor(), test::square, items, {.workers = 2, .chunk = 10},
        [&](std::exception_ptr e, std::vector<int> values) {
            CHECK_FALSE(e);
            CHECK(values.size() == 2000);
            done = true;
        });
    int rounds = 0;
    while (!done && rounds < 1'000'000) {
        context.run_one_for(1s);
        context.stop();
        context.run();
        context.restart();
        ++rounds;
    }
    CHECK(done);
    CHECK(rounds > 3);
}

TEST_CASE("many threads run the context, and many coroutines call", "[token][threads]")
{
    const test::leaves_nothing guard;
    asio::io_context context{4};
    cofork::pool pool{context, {.workers = 2}}; // before the threads
    std::atomic<int> right{0};
    auto one = [](cofork::pool& p, int n, std::atomic<int>& count) -> asio::awaitable<void> {
        const auto items = test::numbers(n);
        for (int round = 0; round < 3; ++round) {
            auto values = co_await cofork::parallel(p, test::square, items);
            count += values.size() == items.size() && values.back() == test::square(n - 1);
            auto results = cofork::stream(p, test::square, items, {.window = 7});
            int sum = 0;
            while (auto r = co_await results.next())
                sum += *r->outcome == test::square(static_cast<int>(r->index));
            count += sum == n;
            auto nine = co_await cofork::run(p, test::square, 3);
            count += nine == 9;
        }
    };
    for (int i = 0; i < 32; ++i)
        asio::co_spawn(context, one(pool, 20 + i, right), asio::detached);
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] { context.run_for(test::long_enough); });
    for (auto& t : threads)
        t.join();
    CHECK(right == 32 * 9);
}

TEST_CASE("cancellation from other threads ends calls, and no call is lost", "[token][threads][cancel]")
{
    const test::leaves_nothing guard;
    asio::io_context context{4};
    cofork::pool pool{context, {.workers = 2}};
    const auto items = test::numbers(200);
    std::atomic<int> ended{0};
    constexpr int n = 24;
    std::vector<std::unique_ptr<asio::cancellation_signal>> stops;
    for (int i = 0; i < n; ++i) {
        stops.push_back(std::make_unique<asio::cancellation_signal>());
        const auto strand = asio::make_strand(context);
        asio::post(strand, [&, strand, stop = stops.back().get()] {
            cofork::parallel(pool, test::square, items, {.chunk = 1},
                asio::bind_cancellation_slot(stop->slot(),
                    asio::bind_executor(strand, [&](std::exception_ptr, std::vector<int>) { ++ended; })));
            asio::post(strand, [stop] { stop->emit(cancellation_type::terminal); });
        });
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] { context.run_for(test::long_enough); });
    for (auto& t : threads)
        t.join();
    CHECK(ended == n);
}
