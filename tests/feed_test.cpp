// feed: items that are found while results come in.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/streams.hpp"

#include <cofork/error.hpp>
#include <cofork/feed.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/stream.hpp>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>

#include <atomic>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using test::answer;
using test::into;

namespace {

int same(int x)
{
    return x;
}

/// Follows a tree of 2n and 2n + 1 from 1 up to `limit`, as a crawler follows links.
asio::awaitable<std::multiset<int>> crawl(cofork::feed<int> frontier, int limit, cofork::options o)
{
    std::multiset<int> seen;
    frontier.push(1);
    auto pages = cofork::stream(same, frontier, o);
    while (auto page = co_await pages.next()) {
        const int n = page->outcome.value();
        seen.insert(n);
        for (const int link : {2 * n, 2 * n + 1}) {
            if (link <= limit)
                frontier.push(link);
        }
    }
    co_return seen;
}

} // namespace

TEST_CASE("a crawl visits everything once and ends by itself", "[feed]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u, 3u);
    const std::size_t window = GENERATE(0u, 1u, 4u);
    const auto delivery = GENERATE(cofork::order::given, cofork::order::finished);

    const auto seen =
        test::run(crawl(cofork::feed<int>{}, 200, {.workers = workers, .window = window, .delivery = delivery}));

    CHECK(seen.size() == 200);
    CHECK(std::set<int>(seen.begin(), seen.end()).size() == 200);
}

TEST_CASE("a feed is over only when the consumer asks for more", "[feed]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u);
    asio::io_context context;
    cofork::feed<int> source;
    source.push(1);
    auto results = cofork::stream(context.get_executor(), same, source, {.workers = workers});
    answer a;
    results.next(into(context, a));
    REQUIRE(test::run_until(context, [&] { return a.came; }));
    context.run_for(10ms); // empty and idle, but the consumer may still push

    source.push(2);
    results.next(into(context, a));
    REQUIRE(test::run_until(context, [&] { return a.came; }));
    REQUIRE(a.next.has_value());
    CHECK(a.next->index == 1);
    CHECK(a.next->outcome.value() == 2);

    results.next(into(context, a));
    REQUIRE(test::run_until(context, [&] { return a.came; }));
    CHECK_FALSE(a.error);
    CHECK_FALSE(a.next.has_value());
}

TEST_CASE("a feed that was never filled is over when the consumer asks", "[feed]")
{
    const test::leaves_nothing guard;
    auto none = [](unsigned n) -> asio::awaitable<bool> {
        cofork::feed<int> source;
        auto results = cofork::stream(same, source, {.workers = n});
        auto one = co_await results.next();
        co_return one.has_value();
    };
    CHECK_FALSE(test::run(none(0)));
    CHECK_FALSE(test::run(none(2)));
}

TEST_CASE("close() ends a feed, and what is there is still done", "[feed]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 2u);
    cofork::feed<int> source;
    for (int i = 0; i < 5; ++i)
        source.push(i);
    source.close();
    source.push(99); // too late
    CHECK(source.size() == 5);

    CHECK(test::run(cofork::parallel(same, source, {.workers = workers})) == std::vector{0, 1, 2, 3, 4});
    CHECK(source.empty());
}

TEST_CASE("parallel takes a feed until it is empty and nothing runs", "[feed]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 2u);
    cofork::feed<std::string> source;
    for (int i = 0; i < 50; ++i)
        source.push(std::to_string(i));
    const auto values =
        test::run(cofork::parallel([](const std::string& s) { return s + "!"; }, source, {.workers = workers}));
    REQUIRE(values.size() == 50);
    CHECK(values[49] == "49!");
}

TEST_CASE("a push wakes a consumer that waits while something runs", "[feed]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<bool>> go;
    asio::io_context context;
    cofork::feed<int> source;
    source.push(0);
    auto f = [&](int x) {
        if (x == 0)
            test::eventually([&] { return go->load(); }, 20s); // work-under-test: as slow as it must be
        return x;
    };
    auto results =
        cofork::stream(context.get_executor(), f, source, {.workers = 2, .delivery = cofork::order::finished});
    answer a;
    results.next(into(context, a));
    context.run_for(10ms);
    CHECK_FALSE(a.came);

    source.push(7);
    REQUIRE(test::run_until(context, [&] { return a.came; }));
    CHECK(a.next->outcome.value() == 7);
    *go = true;
    results.next(into(context, a));
    REQUIRE(test::run_until(context, [&] { return a.came; }));
    CHECK(a.next->outcome.value() == 0);
}

TEST_CASE("a call takes no more of a feed than its window", "[feed][window]")
{
    const test::leaves_nothing guard;
    const std::size_t window = GENERATE(1u, 4u);
    const unsigned workers = GENERATE(0u, 2u);
    asio::io_context context;
    cofork::feed<int> source;
    for (int i = 0; i < 20; ++i)
        source.push(i);
    {
        auto results = cofork::stream(context.get_executor(), same, source, {.workers = workers, .window = window});
        REQUIRE(test::run_until(context, [&] { return source.size() == 20 - window; }));
        context.run_for(10ms);
        CHECK(source.size() == 20 - window);
        answer a;
        results.next(into(context, a));
        REQUIRE(test::run_until(context, [&] { return a.came; }));
        CHECK(a.next->outcome.value() == 0);
        context.run_for(10ms);
        CHECK(source.size() >= 20 - window - 1);
    }
    context.restart();
    context.poll();
    const auto left = source.size(); // the next call takes what this one left
    CHECK(test::run(context, cofork::parallel(same, source)).size() == left);
}

TEST_CASE("a failed item does not end a feed", "[feed][fault]")
{
    const test::leaves_nothing guard;
    cofork::feed<int> source;
    for (int i = 0; i < 10; ++i)
        source.push(i);
    auto f = [](int x) {
        if (x == 3)
            throw std::runtime_error{"three"};
        if (x == 5)
            ::_exit(1);
        return x;
    };
    const auto outcomes = test::run(cofork::try_parallel(f, source, {.workers = 2}));
    REQUIRE(outcomes.size() == 10);
    for (std::size_t i = 0; i < 10; ++i)
        CHECK(outcomes[i].has_value() == (i != 3 && i != 5));
}

TEST_CASE("other threads may push into a feed of a pool's call", "[feed][pool][threads]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    cofork::feed<int> source;
    const auto take = [](cofork::pool& p, cofork::feed<int> from) -> asio::awaitable<long> {
        long sum = 0;
        auto results = cofork::stream(p, same, from, {.delivery = cofork::order::finished});
        for (int seen = 0; seen < 4000;) {
            auto one = co_await results.next();
            if (one) {
                sum += one->outcome.value();
                ++seen;
            }
            else // we are faster than those who push
                results = cofork::stream(p, same, from, {.delivery = cofork::order::finished});
        }
        co_return sum;
    };
    std::vector<std::thread> pushers;
    for (int t = 0; t < 4; ++t) {
        pushers.emplace_back([source]() mutable {
            for (int i = 1; i <= 1000; ++i)
                source.push(i);
        });
    }
    const long sum = test::run(context, take(pool, source));
    for (auto& t : pushers)
        t.join();
    CHECK(sum == 4 * 500'500L);
}

TEST_CASE("a feed outlives the call that took from it, and the other way round", "[feed]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    std::optional<cofork::result_stream<int>> results;
    {
        cofork::feed<int> source;
        source.push(4);
        results.emplace(cofork::stream(context.get_executor(), same, source));
    }
    answer a;
    results->next(into(context, a));
    REQUIRE(test::run_until(context, [&] { return a.came; }));
    CHECK(a.next->outcome.value() == 4);

    cofork::feed<int> kept;
    results.emplace(cofork::stream(context.get_executor(), same, kept));
    results.reset();
    kept.push(1); // nobody listens
    CHECK(kept.size() == 1);
}

namespace {

int slow(int item)
{
    ::usleep(5'000);
    return item;
}


asio::awaitable<int> count_to(cofork::pool& pool, int most)
{
    cofork::feed<int> frontier;
    frontier.push(1);
    auto numbers = cofork::stream(pool, same, frontier);
    int last = 0;
    while (auto number = co_await numbers.next()) {
        last = *number->outcome;
        if (last < most)
            frontier.push(last + 1);
    }
    co_return last;
}

} // namespace

// The feed had been empty when it was last asked, and no worker was free to ask again.
TEST_CASE("a feed is read to its end although the pool is busy with another call", "[feed][pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    const std::vector<int> items(40, 1);
    asio::co_spawn(
        context,
        [&]() -> asio::awaitable<void> { co_await cofork::try_parallel(pool, slow, items, cofork::options{.chunk = 1}); },
        asio::detached);
    CHECK(test::run(context, count_to(pool, 10)) == 10);
    context.run();
}
