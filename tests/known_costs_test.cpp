// What a place remembers of a function for its next call.

#include "support/faults.hpp"
#include "support/shared.hpp"

#include "known_costs.hpp"

#include <cofork/parallel.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cofork::detail::known_costs;

int next_one(int x)
{
    return x + 1;
}

int slow_when_negative(int x)
{
    if (x < 0)
        std::this_thread::sleep_for(300ms);
    return x;
}

std::atomic<int>* there = nullptr;

int waits_when_negative(int x)
{
    *there += x < 0 ? 1 : 0;
    while (x < 0 && *there < 4)
        std::this_thread::yield();
    return x;
}

int sleeps_when_negative(int x)
{
    if (x < 0)
        std::this_thread::sleep_for(std::chrono::milliseconds{-x});
    return x;
}

std::int64_t ends_after(int ms)
{
    std::this_thread::sleep_for(std::chrono::milliseconds{ms});
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

int pid_after(int x)
{
    if (x < 0)
        std::this_thread::sleep_for(1ms);
    return ::getpid();
}

/// What goes to the workers first.
std::uint64_t first_bytes(asio::io_context& context, cofork::pool& pool, int (*f)(int))
{
    const std::uint64_t before = pool.stats().sent;
    test::started<std::vector<int>> call{context, cofork::parallel(pool, f, test::numbers(3000))};
    REQUIRE(test::run_until(context, [&] { return pool.stats().sent > before; }));
    const std::uint64_t sent = pool.stats().sent - before;
    CHECK(call.finish().size() == 3000);
    return sent;
}

/// Whether a call does, of ten: one that had no processor for a while has made its items look dear.
bool begins_large(asio::io_context& context, cofork::pool& pool, int (*f)(int))
{
    for (int calls = 0; calls < 10; ++calls) {
        if (first_bytes(context, pool, f) > (test::forks_are_slow ? 400 : 1000)) // a sanitizer makes any item dear
            return true;
    }
    return false;
}

} // namespace

TEST_CASE("costs are known of the functions that were called last", "[known_costs]")
{
    known_costs costs;
    CHECK_FALSE(costs.of(1));
    costs.note(1, 10);
    costs.note(1, 20);
    CHECK(costs.of(1) == 20.0);
    CHECK_FALSE(costs.of(2));
    costs.note(0, 5); // none that is called again
    CHECK_FALSE(costs.of(0));
    for (std::size_t other = 2; other <= 16; ++other)
        costs.note(other, 1);
    costs.note(1, 30);
    costs.note(17, 1);
    CHECK(costs.of(1) == 30.0);
    CHECK_FALSE(costs.of(2));
}

TEST_CASE("the next call of a cheap function begins with a large batch, and no other function of its type does", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .min_workers = 1}};
    CHECK(first_bytes(context, pool, &next_one) < 200); // one item
    CHECK(begins_large(context, pool, &next_one));
    CHECK(first_bytes(context, pool, &slow_when_negative) < 200);
    CHECK(begins_large(context, pool, &next_one));
}

// What was given out on a guess is taken back with the first answer.
TEST_CASE("a function that has become dear holds up no other call", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .min_workers = 1}};
    for (int i = 0; i < 3; ++i)
        (void)test::run(context, cofork::parallel(pool, sleeps_when_negative, test::numbers(3000)));
    const std::uint64_t before = pool.stats().done;
    test::started<std::vector<int>> dear{
        context, cofork::parallel(pool, sleeps_when_negative, std::vector<int>(300, -5))};
    CHECK(test::run(context, cofork::run(pool, next_one, 1)) == 2);
    CHECK(pool.stats().done - before < 100); // it would have been behind them all
    CHECK(dear.finish().size() == 300);
}

TEST_CASE("a function that has become dear is run by all workers", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 4, .min_workers = 4}};
    for (int i = 0; i < 3; ++i)
        (void)test::run(context, cofork::parallel(pool, pid_after, test::numbers(3000)));
    // Each is too short to be taken for a long one, and all together are as little as one batch was worth.
    const auto pids = test::run(context, cofork::parallel(pool, pid_after, std::vector<int>(100, -1)));
    std::map<int, int> by;
    for (const int pid : pids)
        ++by[pid];
    CHECK(by.size() == 4);
    CHECK(std::ranges::all_of(by, [](const auto& b) { return b.second <= 60; }));
}

TEST_CASE("a call with less workers than the pool sends nothing again and again behind a long item", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
    for (int i = 0; i < 3; ++i)
        (void)test::run(context, cofork::parallel(pool, slow_when_negative, test::numbers(3000)));
    std::vector<int> items = test::numbers(3000);
    items.front() = -1;
    const std::uint64_t before = pool.stats().sent;
    CHECK(test::run(context, cofork::parallel(pool, slow_when_negative, std::move(items), {.workers = 1})).size() == 3000);
    CHECK(pool.stats().sent - before < 6 * 3000 * (sizeof(std::uint64_t) + sizeof(int)));
}

TEST_CASE("items behind one that is long this time go to the other worker", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
    std::vector<int> items = test::numbers(5000);
    for (int i = 0; i < 3; ++i)
        CHECK(test::run(context, cofork::parallel(pool, slow_when_negative, items)).size() == 5000);
    items.front() = -1;
    std::vector<std::size_t> order;
    const auto read = [&]() -> asio::awaitable<void> {
        auto results = cofork::stream(pool, slow_when_negative, items, {.delivery = cofork::order::finished});
        while (const auto r = co_await results.next())
            order.push_back(r->index);
    };
    test::run(context, read());
    REQUIRE(order.size() == items.size());
    CHECK(order.back() == 0);
}

TEST_CASE("items behind a long one go to a worker that gets free only later, also where nobody waits for results", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
    std::vector<int> ms(100, 1);
    CHECK(test::run(context, cofork::parallel(pool, ends_after, ms)).size() == ms.size());
    ms[20] = 400; // both are at work, and have others of a millisecond behind it
    std::vector<std::int64_t> ended = test::run(context, cofork::parallel(pool, ends_after, ms));
    REQUIRE(ended.size() == ms.size());
    const std::int64_t of_the_long_one = std::exchange(ended[20], 0);
    CHECK(*std::ranges::max_element(ended) < of_the_long_one);
}

// One lay behind another, as cheap items may, was taken back, and was laid there again: it was never what a worker is made for.
TEST_CASE("items that wait for each other run side by side, however cheap those before them were", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    const test::shared<std::atomic<int>> shared;
    there = &*shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 4}};
    // Three workers; then a call that leaves one of them idle, and so asks for no other.
    test::run(context, cofork::parallel(pool, slow_when_negative, std::vector<int>(3, -1), {.chunk = 1}));
    REQUIRE(pool.stats().workers == 3);
    test::run(context, cofork::parallel(pool, waits_when_negative, test::numbers(2)));
    REQUIRE(pool.stats().workers == 3);
    CHECK(test::run(context, cofork::parallel(pool, waits_when_negative, std::vector<int>(4, -1), {.chunk = 1})).size() == 4);
}
