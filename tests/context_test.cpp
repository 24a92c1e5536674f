// The io_context under calls: destroyed, stopped and restarted, run by many threads.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using test::hangs;

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
