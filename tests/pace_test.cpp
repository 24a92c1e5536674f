#include "support/catch.hpp"

#include "pace.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <vector>

using cofork::detail::batch_size;
using cofork::detail::gate;
using namespace std::chrono_literals;

namespace {

using time_point = gate::time_point;
using std::chrono::nanoseconds;

constexpr time_point start{1h};

/// Measures batches of items that cost `each`, as many as it takes to settle.
batch_size settled(nanoseconds each)
{
    batch_size size;
    for (int i = 0; i < 50; ++i) {
        const std::size_t items = size.next({}, 2);
        size.measured(items, each * static_cast<nanoseconds::rep>(items));
    }
    return size;
}

} // namespace

TEST_CASE("the first start goes through the gate at once", "[pace]")
{
    const gate g{1s};
    CHECK(g.open(start));
    CHECK(g.open(time_point{}));
    CHECK(g.opens_at() <= start);
}

TEST_CASE("the gate opens a pause after the last start, not earlier", "[pace]")
{
    gate g{20ms};
    g.started(start);
    CHECK_FALSE(g.open(start));
    CHECK_FALSE(g.open(start + 20ms - 1ns));
    CHECK(g.opens_at() == start + 20ms);
    CHECK(g.open(start + 20ms));
}

TEST_CASE("after a late start the pause begins anew", "[pace]")
{
    gate g{20ms};
    g.started(start);
    g.started(start + 35ms);
    CHECK_FALSE(g.open(start + 40ms));
    CHECK(g.opens_at() == start + 55ms);
}

TEST_CASE("a gate without a pause is always open", "[pace]")
{
    gate g{0ns};
    g.started(start);
    CHECK(g.open(start));
}

TEST_CASE("a pause without end closes the gate for good", "[pace]")
{
    gate g{nanoseconds::max()};
    CHECK(g.open(start));
    g.started(start);
    CHECK_FALSE(g.open(start + 24h * 365));
    CHECK(g.opens_at() == time_point::max());
}

TEST_CASE("the first batch is one item", "[pace]")
{
    const batch_size size;
    CHECK(size.next({}, 2) == 1);
    CHECK(size.next(10'000, 2) == 1);
    CHECK(size.next(1, 64) == 1);
}

TEST_CASE("a batch grows at most fourfold over what was measured", "[pace]")
{
    batch_size size;
    std::vector<std::size_t> sizes;
    for (int i = 0; i < 8; ++i) {
        sizes.push_back(size.next({}, 2));
        size.measured(sizes.back(), nanoseconds{static_cast<nanoseconds::rep>(sizes.back())});
    }
    CHECK(sizes == std::vector<std::size_t>{1, 4, 16, 64, 256, 1024, 4096, 4096});
}

TEST_CASE("many measurements of one item are no licence for a large batch", "[pace]")
{
    batch_size size;
    for (int worker = 0; worker < 64; ++worker)
        size.measured(1, 10ns);
    CHECK(size.next({}, 64) == 4);
}

TEST_CASE("what the function cost the last time makes the first batch large, and is a guess", "[pace]")
{
    batch_size size;
    CHECK_FALSE(size.cost());
    size.expect(100);
    CHECK(size.next(1'000'000, 2) == 1250); // 125 us
    CHECK(size.next(2000, 2) == 500);       // half of an even share
    CHECK_FALSE(size.cost());               // nothing to remember, if the call ends here
    SECTION("that the first measurement replaces when it was too high")
    {
        size.measured(1250, 12'500ns);
        CHECK(size.cost() == 10.0);
        CHECK(size.next(1'000'000, 2) == 4096);
    }
    SECTION("that the first measurement replaces when it was too low")
    {
        size.measured(1250, 1250ms);
        CHECK(size.cost() == 1e6);
        CHECK(size.next(1'000'000, 2) == 1);
    }
}

TEST_CASE("a batch settles at half a millisecond of work", "[pace]")
{
    struct row {
        nanoseconds each;
        std::size_t items;
    };
    const row rows[] = {
        {0ns, 4096}, {10ns, 4096}, {500ns, 1000}, {1us, 500}, {10us, 50}, {100us, 5}, {400us, 1}, {1s, 1},
    };
    for (const row& r : rows) {
        INFO(r.each.count() << " ns each");
        CHECK(settled(r.each).next({}, 2) == r.items);
    }
}

TEST_CASE("where nobody waits a batch is worth more, as long as much is left", "[pace]")
{
    batch_size size = settled(10us);
    REQUIRE(size.next(1'000'000, 2) == 50);
    CHECK(size.next(1'000'000, 2, true) == 200); // four times what was measured
    size.measured(200, 2ms);
    CHECK(size.next(1'000'000, 2, true) == 400);
    CHECK(size.next(1'000'000, 1, true) == 400);
    CHECK(size.next({}, 2, true) == 50); // nobody knows how much there is
    // A quarter of what each worker has still to do.
    CHECK(size.next(6400, 2, true) == 400);
    CHECK(size.next(1600, 2, true) == 200);
    CHECK(size.next(800, 2, true) == 100);
    CHECK(size.next(400, 2, true) == 50);
    CHECK(size.may_wait(1'000'000, 2, false) == 500us);
    CHECK(size.may_wait(1'000'000, 2, true) == 4ms);
    CHECK(size.may_wait(800, 2, true) == 1ms);
    CHECK(size.may_wait(400, 2, true) == 500us);
    CHECK(batch_size{}.may_wait(1'000'000, 2, true) == 500us);
    CHECK(batch_size{7}.next(1'000'000, 2, true) == 7);
}

TEST_CASE("one long item shrinks the next batch at once", "[pace]")
{
    batch_size size = settled(1us);
    REQUIRE(size.next({}, 2) == 500);
    size.measured(500, 500us + 100ms);
    CHECK(size.next({}, 2) == 2);
}

TEST_CASE("after a long item batches stay small for a while, and come back in the end", "[pace]")
{
    batch_size size = settled(1us);
    size.measured(500, 500us + 100ms);
    std::size_t batches = 0;
    std::size_t last = 0;
    bool steady = true;
    while (size.next({}, 2) < 400 && batches < 1000) {
        const std::size_t items = size.next({}, 2);
        steady = steady && items >= last && items <= std::max<std::size_t>(2 * last, 3);
        last = items;
        size.measured(items, 1us * static_cast<nanoseconds::rep>(items));
        ++batches;
    }
    CHECK(steady);
    CHECK(batches > 5);
    CHECK(batches < 50);
}

TEST_CASE("one item in ten that is long keeps batches small", "[pace]")
{
    batch_size size;
    std::size_t largest = 0;
    std::size_t item = 0;
    for (int batch = 0; batch < 500; ++batch) {
        const std::size_t items = size.next({}, 2);
        nanoseconds busy{0};
        for (std::size_t i = 0; i < items; ++i)
            busy += ++item % 10 == 0 ? nanoseconds{5ms} : nanoseconds{1us};
        size.measured(items, busy);
        if (batch > 20)
            largest = std::max(largest, items);
    }
    CHECK(largest <= 10); // two long ones in a batch would be more than ten items
}

TEST_CASE("towards the end a batch is half of an even share", "[pace]")
{
    const batch_size size = settled(10us);
    REQUIRE(size.next({}, 2) == 50);
    CHECK(size.next(1000, 2) == 50);
    CHECK(size.next(200, 2) == 50);
    CHECK(size.next(100, 2) == 25);
    CHECK(size.next(100, 4) == 12);
    CHECK(size.next(20, 2) == 5);
}

TEST_CASE("a batch is never cut to less work than a round trip, nor to none", "[pace]")
{
    const batch_size cheap = settled(1us);
    CHECK(cheap.next(40, 2) == 25); // 25 us
    CHECK(cheap.next(10, 2) == 10);
    const batch_size dear = settled(100us);
    CHECK(dear.next(3, 2) == 1);
    CHECK(dear.next(1, 2) == 1);
    CHECK(dear.next(0, 2) == 1);
    CHECK(dear.next(100, 0) == 5);
}

TEST_CASE("ten thousand trivial items take a few dozen batches", "[pace]")
{
    batch_size size;
    int batches = 0;
    for (std::size_t left = 10'000; left != 0; ++batches) {
        const std::size_t items = size.next(left, 2);
        REQUIRE(items >= 1);
        REQUIRE(items <= left);
        left -= items;
        size.measured(items, nanoseconds{100} * static_cast<nanoseconds::rep>(items));
    }
    CHECK(batches < 40);
}

TEST_CASE("what the first items took, that found nothing in a cache, is soon outweighed", "[pace]")
{
    batch_size size;
    size.measured(1, 15us);
    size.measured(4, 100ns);
    size.measured(16, 400ns);
    REQUIRE(size.cost());
    CHECK(*size.cost() < 1000);
    size.measured(64, 1600ns);
    CHECK(*size.cost() < 250);
}

TEST_CASE("workers that take batches as they get free end together", "[pace]")
{
    // Items of 100 us, two workers: the one that ends first waits for less than a slice.
    const bool nobody_waits = GENERATE(false, true);
    batch_size size;
    nanoseconds free_at[2] = {0ns, 0ns};
    for (std::size_t left = 5'000; left != 0;) {
        auto& worker = free_at[free_at[1] < free_at[0]];
        const std::size_t items = size.next(left, 2, nobody_waits);
        const nanoseconds busy = 100us * static_cast<nanoseconds::rep>(items);
        left -= items;
        worker += busy;
        size.measured(items, busy);
    }
    CHECK(std::max(free_at[0], free_at[1]) - std::min(free_at[0], free_at[1]) <= 200us);
}

TEST_CASE("a chosen chunk is kept, except for the rest", "[pace]")
{
    batch_size size{7};
    CHECK(size.next({}, 2) == 7);
    CHECK(size.next(8, 2) == 7);
    CHECK(size.next(3, 2) == 3);
    size.measured(7, 70s);
    CHECK(size.next(100, 2) == 7);
    CHECK(batch_size{100'000}.next({}, 2) == 100'000);
}

TEST_CASE("the next batch waits in the pipe only behind cheap ones", "[pace]")
{
    CHECK_FALSE(batch_size{}.prefetch()); // nothing is known yet
    CHECK(settled(1us).prefetch());
    CHECK(settled(400us).prefetch());
    CHECK(settled(1900us).prefetch());
    CHECK_FALSE(settled(2ms).prefetch());
    CHECK(settled(19ms).prefetch(true));
    CHECK_FALSE(settled(20ms).prefetch(true));
    CHECK_FALSE(settled(1s).prefetch());

    batch_size chunk{100};
    CHECK_FALSE(chunk.prefetch());
    chunk.measured(100, 1ms);
    CHECK(chunk.prefetch());
    chunk.measured(100, 3ms);
    CHECK_FALSE(chunk.prefetch());
}

TEST_CASE("a measurement of nothing, or of less than no time, changes nothing for the worse", "[pace]")
{
    batch_size size;
    size.measured(0, 1s);
    CHECK(size.next({}, 2) == 1);
    CHECK_FALSE(size.prefetch());
    size.measured(1, -1s);
    CHECK(size.next({}, 2) == 4);
}
