// Exceptions out of f: the item pays, its worker and its neighbours do not.

#include "support/faults.hpp"

#include "frame.hpp"

#include <cofork/run.hpp>

#include <algorithm>
#include <csignal>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

namespace {

using cofork::failure;
using cofork::failure_kind;
using test::refused;

struct silent {};

[[noreturn]] void throw_nested()
{
    try {
        try {
            throw std::invalid_argument{"inner"};
        }
        catch (...) {
            std::throw_with_nested(std::out_of_range{"middle"});
        }
    }
    catch (...) {
        std::throw_with_nested(refused{"outer"});
    }
}

struct rude : std::exception {
    static const char* no_text() { throw 1; }
    const char* what() const noexcept override { return no_text(); }
};

struct way {
    const char* name;
    void (*fail)();
    const char* type; // a part of the name
    const char* what;
};

constexpr way ways[] = {
    {"a standard exception", [] { throw std::out_of_range{"too far"}; }, "std::out_of_range", "too far"},
    {"an own exception", [] { throw refused{"refused"}; }, "refused", "refused"},
    {"a nested exception", [] { throw_nested(); }, "refused", "outer: middle: inner"},
    {"an int", [] { throw 42; }, "int", ""},
    {"a string literal", [] { throw "text"; }, "char const*", ""},
    {"an empty class", [] { throw silent{}; }, "silent", ""},
    {"an empty text", [] { throw std::runtime_error{""}; }, "std::runtime_error", ""},
    {"a text with control characters", [] { throw std::runtime_error{"a\x1b[31m\nb\xff"}; }, "std::runtime_error", "a\x1b[31m\nb\xff"},
    {"std::bad_alloc", [] { throw std::bad_alloc{}; }, "std::bad_alloc", "std::bad_alloc"},
};

int throwing(int item)
{
    if (item < 0)
        ways[static_cast<std::size_t>(-item - 1)].fail();
    return 2 * item;
}

} // namespace

TEST_CASE("what f throws is told by type and text, and its worker goes on", "[fault][F22][F23]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const std::size_t chunk = GENERATE(std::size_t{1}, std::size_t{64});

    for (std::size_t w = 0; w < std::size(ways); ++w) {
        CAPTURE(ways[w].name);
        std::vector<int> items = test::numbers(20);
        items[11] = -static_cast<int>(w) - 1;
        const auto all = test::run(context, cofork::try_parallel(pool, throwing, items, {.chunk = chunk}));
        REQUIRE(all.size() == items.size());
        for (std::size_t i = 0; i < all.size(); ++i) {
            REQUIRE(all[i].has_value() == (i != 11));
            if (all[i])
                CHECK(*all[i] == 2 * static_cast<int>(i));
        }
        const failure& why = all[11].error();
        CHECK(why.kind == failure_kind::exception);
        CHECK(why.index == 11);
        CHECK_THAT(why.type, Catch::Matchers::ContainsSubstring(ways[w].type));
        CHECK(why.what == ways[w].what);
        CHECK(why.pid > 0);
        const std::string line = describe(why);
        CHECK(std::none_of(line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }));

        const auto alone = test::run(context, cofork::try_run(throwing, items[11]));
        REQUIRE_FALSE(alone.has_value());
        CHECK(alone.error().what == ways[w].what);
    }
    CHECK(pool.stats().spawned == 1);
    test::still_works(context, pool);
}

TEST_CASE("of an endless text of an exception the beginning is told", "[fault][F24]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto f = [](std::size_t size) { throw std::runtime_error{std::string(size, 'x')}; };
    for (const std::size_t size :
        {std::size_t{16 * 1024 - 1}, std::size_t{16 * 1024}, std::size_t{16 * 1024 + 1}, std::size_t{100} << 20}) {
        const auto outcome = test::run(context, cofork::try_run(pool, f, size));
        REQUIRE_FALSE(outcome.has_value());
        CHECK(outcome.error().what == std::string(std::min(size, cofork::detail::max_what), 'x'));
    }
    CHECK(pool.stats().spawned == 1);
    test::still_works(context, pool);
}

TEST_CASE("an exception whose text cannot be had ends its worker and fails its item", "[fault][F24]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto f = [](int item) {
        if (item == 5)
            throw rude{};
        return 2 * item;
    };
    const auto all = test::run(context, cofork::try_parallel(pool, f, test::numbers(10), {.chunk = 10}));
    for (std::size_t i = 0; i < all.size(); ++i)
        CHECK(all[i].has_value() == (i != 5));
    CHECK(all[5].error().kind == failure_kind::crashed);
    CHECK(all[5].error().signal == SIGABRT);
    test::still_works(context, pool);
}
