// Large items and results through the memory that a worker shares with the program, and without it.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include "arena.hpp"

#include <cofork/event.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <sys/resource.h>

namespace {

using test::letters;
using text = std::string;

constexpr std::size_t large = cofork::detail::least_large;
using cofork::detail::arena;

text twice(const text& half)
{
    return half + half;
}

} // namespace

TEST_CASE("items and results of any size arrive, with shared memory for them and without", "[large_item]")
{
    const test::leaves_nothing guard;
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
    const bool has_arena = GENERATE(true, false);
    CAPTURE(has_arena);
    const rlimit fewer{rlim_t{1} << 46, before.rlim_max}; // see shared_pages
    REQUIRE(::setrlimit(RLIMIT_AS, has_arena ? &before : &fewer) == 0);
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    std::vector<text> items;
    std::vector<text> expected;
    for (const std::size_t size : {large - 9, large - 8, large, sizeof(arena::results) / 2 - 8, sizeof(arena::results),
             sizeof(arena::items) - 8, sizeof(arena::items), std::size_t{12} << 20, std::size_t{5}})
        for (int k = 0; k < 3; ++k) {
            items.push_back(letters(size, static_cast<unsigned>(items.size())));
            expected.push_back(twice(items.back()));
        }
    CHECK(test::run(context, cofork::parallel(pool, twice, items)) == expected);
    CHECK(test::run(context, cofork::parallel(pool, twice, std::move(items), {.chunk = 3})) == expected);
    REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
}

namespace {

struct rgb {
    std::uint8_t r, g, b;

    bool operator==(const rgb&) const = default;
};

template <typename T>
T echo_of(const T& all)
{
    return all;
}

template <typename T>
asio::awaitable<void> check_echo(cofork::pool& pool, bool measured)
{
    using element = typename T::value_type;
    cofork::options how{.max_result = std::size_t{1} << 30};
    int heard = 0;
    if (measured)
        how.on_event = [&](const cofork::event&) { ++heard; };
    for (const std::size_t size : {large - 8, large, large + 1, sizeof(arena::results), sizeof(arena::items) + 7}) {
        CAPTURE(size, measured);
        T all(size / sizeof(element), element{});
        std::memcpy(all.data(), letters(size).data(), all.size() * sizeof(element));
        const T back = co_await cofork::run(pool, echo_of<T>, all, how);
        CHECK((back == all)); // and not a word of what they are
        const auto some = co_await cofork::parallel(pool, echo_of<T>, std::vector<T>(3, all), how);
        CHECK(std::ranges::count(some, all) == 3);
    }
    CHECK((heard > 0) == measured);
}

} // namespace

TEST_CASE("large blocks of any element come back as they are", "[large_item]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    for (const bool measured : {false, true}) {
        test::run(context, check_echo<text>(pool, measured));
        test::run(context, check_echo<std::vector<std::uint64_t>>(pool, measured));
        test::run(context, check_echo<std::vector<rgb>>(pool, measured));
    }
}
