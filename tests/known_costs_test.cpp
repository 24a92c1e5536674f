// What a place remembers of a function for its next call.

#include "support/faults.hpp"
#include "support/shared.hpp"

#include "frame.hpp"
#include "known_costs.hpp"

#include <cofork/parallel.hpp>
#include <cofork/stream.hpp>

#include <atomic>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cofork::detail::known_costs;

void some(void*, cofork::detail::byte_view, cofork::detail::byte_view, cofork::encoder&) {}
void other(void*, cofork::detail::byte_view, cofork::detail::byte_view, cofork::encoder&) {}

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

/// How many batches went to workers for `items` numbers.
std::uint64_t batches_for(asio::io_context& context, cofork::pool& pool, int items)
{
    const std::uint64_t before = pool.stats().sent;
    CHECK(test::run(context, cofork::parallel(pool, next_one, test::numbers(items))).size() == static_cast<std::size_t>(items));
    const std::uint64_t each_item = sizeof(std::uint64_t) + sizeof(int);
    const std::uint64_t each_batch = sizeof(cofork::detail::job_header) + sizeof(&next_one);
    return (pool.stats().sent - before - static_cast<std::uint64_t>(items) * each_item) / each_batch;
}

} // namespace

TEST_CASE("costs are known by function, the latest ones", "[known_costs]")
{
    known_costs costs;
    CHECK_FALSE(costs.of(&some));
    costs.note(&some, 10);
    costs.note(&some, 20);
    CHECK(costs.of(&some) == 20.0);
    CHECK_FALSE(costs.of(&other));
    costs.note(nullptr, 5); // a snapshot: it has no function that is called again
    CHECK_FALSE(costs.of(nullptr));
    for (std::uintptr_t i = 1; i <= 16; ++i)
        costs.note(reinterpret_cast<cofork::detail::entry>(i), 1); // NOLINT(performance-no-int-to-ptr)
    CHECK_FALSE(costs.of(&some));
}

TEST_CASE("the second call of a cheap function begins with large batches", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .min_workers = 1}};
    const auto first = batches_for(context, pool, 3000);
    const auto second = batches_for(context, pool, 3000);
    CHECK(first >= 7);          // 1, 4, 16, 64, 256, 1024 and the rest
    CHECK(second + 3 <= first);
}

TEST_CASE("items behind one that is long this time go to the other worker", "[known_costs][pool]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .min_workers = 2}};
    CHECK(test::run(context, cofork::parallel(pool, slow_when_negative, test::numbers(5000))).size() == 5000);
    std::vector<int> items = test::numbers(5000);
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
