// Items that hang, pipes that are full, clocks that race.

#include "support/asio_backend.hpp"
#include "support/faults.hpp"

#include <cofork/run.hpp>
#include <cofork/stream.hpp>
#include <cofork/transport.hpp>

#include <asio/steady_timer.hpp>

#include <sys/resource.h>

#include <ranges>
#include <thread>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;
using clock = std::chrono::steady_clock;

struct board {
    std::atomic<int> finished;
};
board* now = nullptr;

using shared_board = test::shared_at<now>;

long peak_kib()
{
    rusage use{};
    ::getrusage(RUSAGE_SELF, &use);
    return use.ru_maxrss;
}

} // namespace

TEST_CASE("a timeout is the item's own, not its batch's", "[fault][F37]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto f = [](int item) {
        std::this_thread::sleep_for(10ms); // work-under-test
        return 2 * item;
    };
    // Ten times the timeout together; far from it alone, also on a busy machine.
    const auto all = test::run(
        context, cofork::parallel(pool, f, test::numbers(400), {.workers = 1, .timeout = 400ms, .chunk = 400}));
    test::require_twice(all, 400);
    test::runs_dry(context);
}

TEST_CASE("a result and its timeout that cross make one outcome", "[fault][F38]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](int item) {
        test::spin_for(1500us + std::chrono::microseconds{item % 101 * 10}); // 1.5 to 2.5 ms
        return 2 * item;
    };
    const std::vector<int> items = test::numbers(600);
    const std::size_t chunk = GENERATE(std::size_t{1}, std::size_t{8});
    CAPTURE(chunk);
    const auto all = test::run(context, cofork::try_parallel(pool, f, items, {.timeout = 2ms, .chunk = chunk}));
    REQUIRE(all.size() == items.size());
    std::size_t late = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (all[i])
            CHECK(*all[i] == 2 * static_cast<int>(i));
        else {
            ++late;
            CHECK(all[i].error().kind == failure_kind::timeout);
            CHECK(all[i].error().index == i);
            CHECK(all[i].error().elapsed >= 2ms);
        }
    }
    CHECK(late > 0);
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("results that wait for a parent which is late do not time out", "[fault][F38][F39]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    if (test::asio_waits_by_ring && cofork::transport(context) == cofork::transport_kind::reactor)
        SKIP("Asio sends what is written only when its loop turns");
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](int item) {
        ++now->finished;
        return 2 * item;
    };
    test::still_works(context, pool);
    test::started call{
        context, cofork::try_parallel(pool, f, test::numbers(2), {.workers = 2, .timeout = 50ms, .chunk = 1})};
    REQUIRE(test::run_until(context, [&] { return pool.stats().busy > 0; }));
    // The parent does nothing for longer than the timeout, while the items end.
    const auto later = clock::now() + 200ms;
    CHECK(test::eventually([&] { return clock::now() > later && now->finished > 0; }));
    const auto all = call.finish();
    for (const auto& outcome : all)
        CHECK(outcome.has_value());
    test::runs_dry(context);
}

TEST_CASE("a worker that waits because nobody reads its results is not late", "[fault][F40]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto f = [](int item) { return std::string(400'000, static_cast<char>('a' + item)); };
    auto call = std::make_unique<test::started<std::vector<cofork::outcome<std::string>>>>(
        context, cofork::try_parallel(pool, f, test::numbers(8), {.timeout = 100ms, .chunk = 8}));
    REQUIRE(test::run_until(context, [&] { return pool.stats().busy == 1; }));
    for (int pause = 0; pause < 3; ++pause) {
        const auto later = clock::now() + 150ms;
        CHECK(test::eventually([&] { return clock::now() > later; }));
        context.restart();
        context.poll_one();
    }
    const auto all = call->finish();
    REQUIRE(all.size() == 8);
    for (std::size_t i = 0; i < all.size(); ++i) {
        CAPTURE(i);
        REQUIRE(all[i].has_value());
        CHECK(*all[i] == std::string(400'000, static_cast<char>('a' + i)));
    }
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("large items and large results cross without a deadlock", "[fault][F42]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](std::string item) {
        item.front() = '?';
        return item;
    };
    const std::size_t chunk = GENERATE(std::size_t{0}, std::size_t{4});
    std::vector<std::string> items;
    for (char c = 'a'; c < 'a' + 24; ++c)
        items.emplace_back(std::string(1'000'000, c) + "!");
    const auto all = test::run(context, cofork::parallel(pool, f, items, {.chunk = chunk}));
    REQUIRE(all.size() == items.size());
    for (std::size_t i = 0; i < all.size(); ++i)
        CHECK(all[i] == "?" + items[i].substr(1));
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("a million items at once take no memory in the parent before their turn", "[fault][F41]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    constexpr std::size_t count = test::forks_are_slow ? 100'000 : 1'000'000;
    // 1 KB each, 1 GB together.
    auto items = std::views::iota(std::size_t{0}, count)
        | std::views::transform([](std::size_t i) { return std::string(1000, static_cast<char>(i % 251)); });
    const auto f = [](const std::string& item) { return item.size() + static_cast<unsigned char>(item[0]); };
    const auto consume = [&](cofork::result_stream<std::size_t> results) -> asio::awaitable<std::size_t> {
        std::size_t right = 0;
        while (auto next = co_await results.next())
            right += next->outcome && *next->outcome == 1000 + next->index % 251 ? 1 : 0;
        co_return right;
    };
    const long before = peak_kib();
    auto results = cofork::stream(pool, f, items, {.window = 4096, .delivery = cofork::order::finished});
    CHECK(test::run(context, consume(std::move(results)), 100s) == count);
    if (!test::forks_are_slow) // AddressSanitizer keeps what is freed for a while
        CHECK(peak_kib() - before < 100 * 1024);
    test::still_works(context, pool);
    test::runs_dry(context);
}

TEST_CASE("a consumer that stops reading stops the starts", "[fault][F41]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](int item) {
        ++now->finished;
        return item;
    };
    {
        auto results = cofork::stream(pool, f, std::views::iota(0), {.window = 10});
        REQUIRE(test::run_until(context, [] { return now->finished == 10; }));
        const auto later = clock::now() + 100ms;
        test::run_until(context, [&] { return clock::now() > later; });
        CHECK(now->finished == 10);
        const auto next = [&]() -> asio::awaitable<std::size_t> {
            auto r = co_await results.next();
            co_return r->index;
        };
        for (std::size_t i = 0; i < 7; ++i)
            CHECK(test::run(context, next()) == i);
        REQUIRE(test::run_until(context, [] { return now->finished > 10; }));
        CHECK(now->finished <= 17);
    }
    test::still_works(context, pool);
    test::runs_dry(context);
}
