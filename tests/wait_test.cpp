// wait: whose contexts it runs, and what happens where one of these throws or ends.

#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/pool.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>
#include <cofork/wait.hpp>

#include <asio/experimental/awaitable_operators.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

int slow_square(int x)
{
    std::this_thread::sleep_for(20ms);
    return x * x;
}

asio::awaitable<int> sum_of(cofork::pool& one, cofork::pool& other)
{
    using namespace asio::experimental::awaitable_operators;
    const auto [a, b] = co_await (cofork::run(one, slow_square, 3) && cofork::run(other, slow_square, 4));
    co_return a + b;
}

asio::awaitable<int> with_a_pool_of_its_own()
{
    int result = 0;
    {
        auto context = std::make_unique<asio::io_context>();
        cofork::pool pool{*context, {.workers = 1}};
        result = co_await cofork::run(pool, test::square, 3);
    }
    asio::steady_timer timer{co_await asio::this_coro::executor, 20ms};
    co_await timer.async_wait(asio::use_awaitable);
    co_return result;
}

} // namespace

TEST_CASE("wait runs the context of a pool whose stream was made before", "[wait]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    const std::vector<int> items = test::numbers(20);
    auto stream = cofork::stream(pool, test::square, items);
    int sum = 0;
    while (const auto each = cofork::wait(stream.next()))
        sum += *each->outcome;
    CHECK(sum == 2470);
    CHECK_NOTHROW(cofork::wait(pool.async_drain()));
}

TEST_CASE("wait runs the context of a pool whatever the executor that it was given", "[wait]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const asio::any_io_executor executors[] = {
        asio::make_strand(context),
        asio::make_strand(asio::any_io_executor{context.get_executor()}),
        asio::prefer(context.get_executor(), asio::execution::outstanding_work.tracked),
        asio::require(context.get_executor(), asio::execution::blocking.never),
    };
    for (const auto& each : executors) {
        cofork::pool pool{each, {.workers = 1}};
        CHECK(cofork::wait(cofork::run(pool, test::square, 5)) == 25);
    }
}

TEST_CASE("wait runs the contexts of all pools that are used", "[wait]")
{
    const test::leaves_nothing guard;
    asio::io_context one, other;
    cofork::pool first{one, {.workers = 1}}, second{other, {.workers = 1}};
    CHECK(cofork::wait(sum_of(first, second)) == 25);
}

TEST_CASE("wait goes on when another handler of the pool's context throws, and throws that at its end", "[wait]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    asio::post(context, [] { throw std::runtime_error{"from another handler"}; });
    CHECK_THROWS_WITH(cofork::wait(cofork::run(pool, slow_square, 3)), "from another handler");
    CHECK(cofork::wait(cofork::run(pool, test::square, 4)) == 16);
    CHECK(pool.stats().calls == 0);
}

TEST_CASE("wait lets go of a context that ends while it waits", "[wait]")
{
    const test::leaves_nothing guard;
    CHECK(cofork::wait(with_a_pool_of_its_own()) == 9);
}
