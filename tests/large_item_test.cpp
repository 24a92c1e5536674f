// Large items: sent from where they are, whole, once or again, and not kept longer than needed.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/detail/input.hpp>
#include <cofork/detail/tasks.hpp>
#include <cofork/error.hpp>
#include <cofork/parallel.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <ranges>
#include <string>
#include <utility>
#include <vector>

#include <signal.h>
#include <unistd.h>

using namespace std::chrono_literals;
using cofork::failure_kind;

namespace {

namespace detail = cofork::detail;
using test::letters;
using text = std::string;
using shared_text = std::shared_ptr<const std::string>;

constexpr std::size_t large = detail::least_left_block;

std::uint64_t sum(const text& all)
{
    return std::hash<text>{}(all);
}

std::uint64_t sum_shared(const shared_text& all)
{
    return all ? sum(*all) : 0;
}

std::vector<std::uint64_t> sums(const text& a, int between, const std::vector<std::uint32_t>& b, const text& c)
{
    return {sum(a), static_cast<std::uint64_t>(between), sum({reinterpret_cast<const char*>(b.data()), 4 * b.size()}), sum(c)};
}

/// The photograph of a server: a type of the program's own.
struct picture {
    int width = 0;
    shared_text file;
    text name;

    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(width, file, name);
    }
};

std::uint64_t sum_picture(const picture& p)
{
    return sum_shared(p.file) + sum(p.name) + static_cast<std::uint64_t>(p.width);
}

struct board {
    std::atomic<int> starts;
    std::atomic<bool> gate;
};
board* shared = nullptr;

std::uint64_t dies_at_first(const text& all)
{
    if (++shared->starts == 1)
        ::kill(::getpid(), SIGKILL);
    return sum(all);
}

template <typename Input>
detail::encoded_items pulled_from(Input& from)
{
    detail::encoded_items items;
    CHECK(from.pull(items) == detail::pulled::item);
    return items;
}

} // namespace

TEST_CASE("what the call owns is not copied to be sent", "[large_item]")
{
    SECTION("an argument")
    {
        text all = letters(large);
        const void* const where = all.data();
        detail::pool_call<decltype(&sum), text> call{&sum, {std::move(all)}};
        const auto items = pulled_from(call);
        REQUIRE(items.left.size() == 1);
        CHECK(static_cast<const void*>(items.left[0].bytes.data()) == where);
        CHECK(items.left[0].at == items.bytes.size());
        CHECK(items.bytes.size() == sizeof(std::uint64_t));
    }
    SECTION("elements of a range that was moved in")
    {
        const auto check = [](auto range) {
            range.push_back(letters(3));
            range.push_back(letters(large));
            const void* const where = range.back().data();
            detail::pulled_input<decltype(range)> input{std::move(range)};
            CHECK(pulled_from(input).left.empty());
            const auto items = pulled_from(input);
            REQUIRE(items.left.size() == 1);
            CHECK(static_cast<const void*>(items.left[0].bytes.data()) == where);
        };
        check(std::vector<text>{});
        check(std::deque<text>{});
        check(std::list<text>{});
    }
    SECTION("what a range makes for us")
    {
        auto made = std::views::iota(1u, 3u) | std::views::transform([](unsigned k) { return letters(k * large, k); });
        detail::pulled_input<decltype(made)> input{std::move(made)};
        CHECK(pulled_from(input).left.size() == 1);
    }
    SECTION("what was pushed to a feed")
    {
        cofork::feed<text> feed;
        text all = letters(large);
        const void* const where = all.data();
        feed.push(std::move(all));
        detail::feed_input<text> input{feed};
        const auto items = pulled_from(input);
        REQUIRE(items.left.size() == 1);
        CHECK(static_cast<const void*>(items.left[0].bytes.data()) == where);
    }
    SECTION("what is shared, also inside of a type of the program's own")
    {
        const auto file = std::make_shared<const text>(letters(large));
        detail::pool_call<decltype(&sum_picture), picture> call{&sum_picture, {picture{320, file, "a name"}}};
        CHECK(file.use_count() == 2);
        const auto items = pulled_from(call);
        REQUIRE(items.left.size() == 1);
        CHECK(static_cast<const void*>(items.left[0].bytes.data()) == file->data());
        CHECK(items.left[0].at < items.bytes.size()); // the name follows
        CHECK(file.use_count() == 3);
    }
}

TEST_CASE("what belongs to the caller is copied, and stays as it was", "[large_item]")
{
    std::vector<text> range{letters(large)};
    const text before = range[0];
    SECTION("a range that is borrowed")
    {
        detail::pulled_input<std::vector<text>&> input{range};
        CHECK(pulled_from(input).left.empty());
    }
    SECTION("a view of it")
    {
        auto view = std::views::all(range);
        detail::pulled_input<decltype(view)> input{std::move(view)};
        CHECK(pulled_from(input).left.empty());
    }
    SECTION("small things")
    {
        text small = letters(large - 1);
        detail::pool_call<decltype(&sum), text> call{&sum, {text{small}}};
        CHECK(pulled_from(call).left.empty());
    }
    CHECK(range[0] == before);
}

TEST_CASE("large arguments arrive as they are, one beside the other", "[large_item]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    const unsigned workers = GENERATE(0u, 1u);
    CAPTURE(workers);
    cofork::pool pool{context, {.workers = 1}};
    for (const std::size_t size : {std::size_t{0}, large - 1, large, large + 1, std::size_t{3} << 20}) {
        CAPTURE(size);
        const text a = letters(size, 1), c = letters(size + 7, 3);
        const text raw = letters(size / 4 * 4, 2);
        std::vector<std::uint32_t> b(size / 4);
        if (!b.empty())
            std::memcpy(b.data(), raw.data(), raw.size());
        const auto expected = sums(a, 42, b, c);
        CHECK(test::run(context, cofork::run(pool, sums, a, 42, b, c, cofork::options{.workers = workers})) == expected);
        CHECK(test::run(context, cofork::run(pool, sums, text{a}, 42, std::vector{b}, text{c}, cofork::options{.workers = workers}))
            == expected);
    }
}

TEST_CASE("what is shared travels, and nothing too", "[large_item]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto file = std::make_shared<const text>(letters(1 << 20));
    CHECK(test::run(context, cofork::run(pool, sum_shared, file)) == sum(*file));
    CHECK(test::run(context, cofork::run(pool, sum_shared, std::make_shared<const text>("short"))) == sum("short"));
    CHECK(test::run(context, cofork::run(pool, sum_shared, shared_text{})) == 0);
    const picture p{320, file, letters(large, 9)};
    CHECK(test::run(context, cofork::run(pool, sum_picture, p)) == sum_picture(p));
    const auto back = test::run(context, cofork::run(pool, [](const shared_text& s) { return s; }, file));
    REQUIRE(back);
    CHECK(*back == *file);
    CHECK(back != file);
    CHECK(file.use_count() == 1 + 1); // and p's: nothing of the calls is left
}

TEST_CASE("large items travel among small ones, in their order", "[large_item]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    std::vector<text> items;
    std::vector<std::uint64_t> expected;
    for (unsigned k = 0; k < 120; ++k) {
        items.push_back(letters(k % 7 == 3 ? large + k * 1000 : k, k));
        expected.push_back(sum(items.back()));
    }
    CHECK(test::run(context, cofork::parallel(pool, sum, items)) == expected);
    CHECK(test::run(context, cofork::parallel(pool, sum, items, {.workers = 0})) == expected);
    cofork::feed<text> feed;
    for (const text& item : items)
        feed.push(item);
    feed.close();
    CHECK(test::run(context, cofork::parallel(pool, sum, feed)) == expected);
    CHECK(test::run(context, cofork::parallel(pool, sum, std::vector{items}, {.chunk = 50})) == expected);
    CHECK(test::run(context, cofork::parallel(pool, sum, std::move(items))) == expected);
}

TEST_CASE("a large item is there for the next attempt", "[large_item][F1]")
{
    const test::leaves_nothing guard;
    const test::shared<board> memory;
    shared = &*memory;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    text all = letters(2 << 20);
    const auto expected = sum(all);
    CHECK(test::run(context, cofork::run(pool, dies_at_first, std::move(all), cofork::options{.attempts = 2})) == expected);
    CHECK(shared->starts == 2);
}

TEST_CASE("large items behind one that kills its worker come to another", "[large_item][F1]")
{
    const test::leaves_nothing guard;
    const test::shared<board> memory;
    shared = &*memory;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::vector<text> items;
    std::vector<std::uint64_t> expected;
    for (unsigned k = 0; k < 12; ++k) {
        items.push_back(letters(300'000, k));
        expected.push_back(sum(items.back()));
    }
    const auto all = test::run(context, cofork::try_parallel(pool, dies_at_first, std::move(items), {.chunk = 4}));
    int failed = 0;
    for (std::size_t k = 0; k < all.size(); ++k) {
        CAPTURE(k);
        if (all[k])
            CHECK(*all[k] == expected[k]);
        else {
            CHECK(all[k].error().kind == failure_kind::crashed);
            ++failed;
        }
    }
    CHECK(failed == 1);
}

TEST_CASE("a call that ends while its large item is being sent lets go of it", "[large_item]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto file = std::make_shared<const text>(letters(24 << 20));
    // The one worker hangs, so what is sent to it stays in its pipe, and on its way.
    const auto both = [&]() -> asio::awaitable<void> {
        for (int round = 0; round < 3; ++round) {
            const auto stuck = [](const shared_text&) { test::hang(); };
            std::vector<shared_text> items(3, file);
            try {
                co_await cofork::parallel(pool, stuck, items, {.deadline = 50ms, .chunk = 3});
                FAIL("it cannot end");
            }
            catch (const std::system_error& e) {
                CHECK(e.code() == cofork::errc::deadline);
            }
        }
    };
    test::run(context, both());
    context.restart();
    context.run(); // what is left to be cancelled
    CHECK(file.use_count() == 1);
    CHECK(test::run(context, cofork::run(pool, sum_shared, file)) == sum(*file));
}

namespace {

struct nothing_made {};

/// Not yet.
nothing_made waits_at_gate()
{
    ++shared->starts;
    while (!shared->gate)
        ::usleep(1000);
    ::_exit(3);
}

/// A call whose items are on their way to a worker that does not read yet, and which is given up then.
asio::awaitable<void> give_up(cofork::pool& pool, bool at_once)
{
    asio::cancellation_signal cancel;
    const auto items = [] { return std::vector<text>(2, letters(8 << 20)); };
    const auto size = [](nothing_made&, const text& all) { return all.size(); };
    bool ended = false;
    const auto ex = co_await asio::this_coro::executor;
    cofork::parallel(pool, size, items(), cofork::options{.chunk = 2},
        asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr, std::vector<std::size_t>) { ended = true; }));
    while (shared->starts == 0)
        co_await asio::post(ex, asio::use_awaitable);
    cancel.emit(at_once ? asio::cancellation_type::terminal : asio::cancellation_type::partial);
    while (!ended)
        co_await asio::post(ex, asio::use_awaitable);
}

} // namespace

// What was still to be sent stayed pending for ever, when its worker died after the call had ended: run() did not return.
TEST_CASE("nothing is left to be sent to a worker that dies after the call", "[large_item][F60]")
{
    const test::leaves_nothing guard;
    const test::shared<board> memory;
    shared = &*memory;
    const bool at_once = GENERATE(true, false);
    CAPTURE(at_once);
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .init = waits_at_gate}};
    test::run(context, give_up(pool, at_once));
    shared->gate = true;
    context.restart();
    context.run_for(test::long_enough);
    CHECK(context.stopped());
}
