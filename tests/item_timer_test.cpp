// The time of items in a worker: exact where it counts, and of trivial ones together.

#include "support/catch.hpp"

#include "item_timer.hpp"

#include <chrono>
#include <cstdint>

namespace {

using cofork::detail::item_timer;
using cofork::detail::now_ns;

constexpr std::uint64_t millisecond = 1'000'000;

void spin_for(std::uint64_t ns)
{
    for (const auto end = now_ns() + ns; now_ns() < end;)
        ;
}

/// Until it looks at some of them together, where they are as trivial as that.
void run_trivial_items(item_timer& timer)
{
    for (int i = 0; i < 100; ++i) {
        timer.begin(false, false);
        timer.end(false);
    }
}

} // namespace

TEST_CASE("each of exact items has its own time", "[item_timer]")
{
    item_timer timer;
    const auto first = now_ns();
    auto before = timer.begin(true, true);
    CHECK(before >= first);
    for (int i = 0; i < 3; ++i) {
        spin_for(millisecond);
        CHECK(timer.end(true) >= millisecond);
        CHECK(timer.begin(true, false) >= before + millisecond);
        before = timer.began();
    }
    CHECK(timer.busy() >= 3 * millisecond);
    CHECK(timer.busy() <= now_ns() - first);
}

TEST_CASE("the time of trivial items is theirs together", "[item_timer]")
{
    item_timer timer;
    const auto first = timer.begin(false, true);
    for (int i = 0; i < 10'000; ++i) {
        timer.begin(false, false);
        timer.end(false);
    }
    timer.begin(true, false);
    timer.end(true);
    const auto all = timer.latest() - first;
    CHECK(timer.busy() >= all / 2);
    CHECK(timer.busy() <= all + all / 2); // some are said to take what others took
}

TEST_CASE("a slow item among trivial ones is noticed a few items later", "[item_timer]")
{
    item_timer timer;
    timer.begin(false, true);
    run_trivial_items(timer);
    const auto before = timer.busy();
    timer.begin(false, false);
    spin_for(millisecond);
    for (int i = 0; i < 8; ++i) {
        timer.end(false);
        timer.begin(false, false);
    }
    CHECK(timer.busy() - before >= millisecond * 9 / 10);
}

TEST_CASE("an exact item behind trivial ones begins when it does", "[item_timer]")
{
    item_timer timer;
    for (int again = 0; again < 8; ++again) { // wherever it is in those that are looked at together
        timer.begin(false, true);
        run_trivial_items(timer);
        for (int i = 0; i < again; ++i)
            timer.end(false);
        spin_for(millisecond);
        timer.end(false);
        const auto ended = now_ns();
        CHECK(timer.begin(true, false) + millisecond / 2 >= ended);
    }
}

TEST_CASE("what happens between items is nobody's time", "[item_timer]")
{
    item_timer timer;
    timer.begin(false, true);
    run_trivial_items(timer);
    const auto busy = timer.busy();
    constexpr std::uint64_t trivial = 10'000;
    spin_for(millisecond);
    auto from = now_ns();
    timer.pause();
    timer.begin(false, false);
    timer.end(false);
    auto theirs = now_ns() - from;
    CHECK(timer.busy() - busy <= theirs + trivial);
    spin_for(millisecond);
    from = now_ns();
    timer.begin(true, true);
    timer.end(true);
    theirs += now_ns() - from;
    CHECK(timer.busy() - busy <= theirs + trivial);
}
