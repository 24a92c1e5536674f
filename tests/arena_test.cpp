// Large items and results through the memory that a worker shares with the program, and without it.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include "arena.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

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
