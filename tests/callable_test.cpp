// What f may be, and what it may give back.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/by_bytes.hpp>
#include <cofork/parallel.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/io_context.hpp>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <unistd.h>

using cofork::failure_kind;

namespace {

struct point {
    int x;
    int y;

    int sum() const { return x + y; }
    int plus(int z) const { return x + y + z; }
};

struct adder {
    int by;
    int calls = 0;

    int operator()(int x)
    {
        ++calls;
        return x + by;
    }
};

struct empty {
    bool operator==(const empty&) const = default;
};

const std::vector<int> items{1, 2, 3};

} // namespace

TEST_CASE("in a snapshot f may be anything that can be called", "[callable]")
{
    const test::leaves_nothing guard;
    const cofork::options o{.workers = GENERATE(0u, 2u)};
    SECTION("a function, by name and by address")
    {
        CHECK(test::run(cofork::parallel(test::square, items, o)) == std::vector{1, 4, 9});
        CHECK(test::run(cofork::parallel(&test::square, items, o)) == std::vector{1, 4, 9});
    }
    SECTION("a lambda with captures of any kind")
    {
        const std::string text = "captured";
        auto f = [text, own = std::vector<int>{10, 20, 30, 40}](int x) {
            return text + std::to_string(own[static_cast<std::size_t>(x)]);
        };
        CHECK(test::run(cofork::parallel(f, items, o)).front() == "captured20");
        auto g = [&](int x) { return text.size() + static_cast<std::size_t>(x); };
        CHECK(test::run(cofork::parallel(g, items, o)) == std::vector<std::size_t>{9, 10, 11});
    }
    SECTION("a generic lambda")
    {
        CHECK(test::run(cofork::parallel([](auto x) { return x + 0.5; }, items, o)) == std::vector{1.5, 2.5, 3.5});
    }
    SECTION("a functor with state")
    {
        adder f{10};
        CHECK(test::run(cofork::parallel(f, items, o)) == std::vector{11, 12, 13});
        CHECK(f.calls == 0);
        CHECK(test::run(cofork::parallel(adder{20}, items, o)) == std::vector{21, 22, 23});
    }
    SECTION("a member function")
    {
        const std::vector<point> points{{1, 2}, {3, 4}};
        CHECK(test::run(cofork::parallel(&point::sum, points, o)) == std::vector{3, 7});
    }
    SECTION("a std::function, and what bind makes")
    {
        std::function<int(int)> f = test::square;
        CHECK(test::run(cofork::parallel(f, items, o)) == std::vector{1, 4, 9});
        auto bound = std::bind_front(&point::plus, point{10, 20});
        CHECK(test::run(cofork::parallel(bound, items, o)) == std::vector{31, 32, 33});
    }
    SECTION("one that cannot be copied, borrowed or moved in")
    {
        auto f = [owned = std::make_unique<int>(5)](int x) { return x + *owned; };
        CHECK(test::run(cofork::parallel(f, items, o)) == std::vector{6, 7, 8});
        CHECK(test::run(cofork::run(f, 1, o)) == 6);
        asio::io_context context;
        std::vector<int> got;
        cofork::parallel(context.get_executor(), std::move(f), items, o,
            [&](std::exception_ptr, std::vector<int> values) { got = std::move(values); });
        context.run_for(test::long_enough);
        CHECK(got == std::vector{6, 7, 8});
    }
}

TEST_CASE("in a pool f may be what needs no captures, and by_bytes", "[callable][pool]")
{
    const test::leaves_nothing guard;
    const cofork::options o{.workers = GENERATE(0u, 2u)};
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    CHECK(test::run(context, cofork::parallel(pool, test::square, items, o)) == std::vector{1, 4, 9});
    CHECK(test::run(context, cofork::parallel(pool, &test::square, items, o)) == std::vector{1, 4, 9});
    CHECK(test::run(context, cofork::parallel(pool, [](int x) { return -x; }, items, o)) == std::vector{-1, -2, -3});
    CHECK(test::run(context, cofork::parallel(pool, std::negate<>{}, items, o)) == std::vector{-1, -2, -3});
    CHECK(test::run(context, cofork::parallel(pool, cofork::by_bytes(adder{7}), items, o)) == std::vector{8, 9, 10});
    const std::vector<point> points{{1, 2}, {3, 4}};
    CHECK(test::run(context, cofork::parallel(pool, &point::sum, points, o)) == std::vector{3, 7});
}

TEST_CASE("results may be of many kinds", "[callable][result]")
{
    const test::leaves_nothing guard;
    const cofork::options o{.workers = GENERATE(0u, 2u)};
    CHECK(test::run(cofork::parallel([](int) { return empty{}; }, items, o)).size() == 3);
    CHECK(test::run(cofork::parallel([](int x) { return x > 1; }, items, o)) == std::vector{false, true, true});
    const auto maybe =
        test::run(cofork::parallel([](int x) { return x > 1 ? std::optional{x} : std::nullopt; }, items, o));
    CHECK_FALSE(maybe[0].has_value());
    CHECK(maybe[2] == 3);
    using either = std::variant<int, std::string>;
    const auto mixed =
        test::run(cofork::parallel([](int x) { return x > 1 ? either{x} : either{"one"}; }, items, o));
    CHECK(std::get<std::string>(mixed[0]) == "one");
    CHECK(std::get<int>(mixed[2]) == 3);
    const auto nested = test::run(cofork::parallel(
        [](int x) { return std::vector<std::vector<int>>(static_cast<std::size_t>(x), {x}); }, items, o));
    CHECK(nested[2] == std::vector<std::vector<int>>{{3}, {3}, {3}});
}

TEST_CASE("a result that cannot be default-constructed arrives", "[callable][result]")
{
    const test::leaves_nothing guard;
    struct plain {
        plain() = delete;
        explicit plain(int x) : value{x} {}
        int value;
    };
    static_assert(std::is_trivially_copyable_v<plain>);
    auto f = [](int x) { return plain{x}; };
    const auto all = test::run(cofork::parallel([](int x) { return std::pair{x, 'a'}; }, items));
    CHECK(all[2].first == 3);
    const auto values = test::run(cofork::try_parallel(f, items));
    CHECK(values[2].value().value == 3);
    CHECK(test::run(cofork::run(f, 8)).value == 8);
}

TEST_CASE("a callable has the alignment that it asks for", "[callable]")
{
    // With handlers: g++ aligns no coroutine's frame to more than 16 bytes, so what an awaitable keeps has not what it asks for.
    const test::leaves_nothing guard;
    struct alignas(256) wide {
        int factor = 2;
        std::uintptr_t operator()(int x) const
        {
            return reinterpret_cast<std::uintptr_t>(this) % alignof(wide) + static_cast<std::uintptr_t>(factor * x);
        }
    };
    const wide f;
    for (int i = 0; i < 8; ++i) { // by chance it has it once in sixteen times
        asio::io_context context{1};
        const auto ex = context.get_executor();
        const auto twice = static_cast<std::uintptr_t>(2 * i);
        std::vector<std::uintptr_t> got;
        cofork::parallel(ex, f, std::vector{i}, {}, [&](std::exception_ptr, std::vector<std::uintptr_t> all) { got.push_back(all.at(0)); });
        cofork::run(ex, f, i, cofork::options{}, [&](std::exception_ptr, std::uintptr_t one) { got.push_back(one); });
        auto many = cofork::stream(ex, f, std::vector{i});
        many.next([&](std::exception_ptr, std::optional<cofork::indexed<std::uintptr_t>> one) { got.push_back(one->outcome.value()); });
        context.run_for(test::long_enough);
        CHECK(got == std::vector{twice, twice, twice});
    }
}

TEST_CASE("results of every size arrive whole", "[callable][result]")
{
    const test::leaves_nothing guard;
    std::vector<std::size_t> sizes{0, 1, 2, 7, 8, 100, 4095, 4096, 4097, 65535, 65536, 65537, 1'000'000, 5'000'000};
    auto f = [](std::size_t size) {
        std::string s(size, '\0');
        for (std::size_t i = 0; i < size; ++i)
            s[i] = static_cast<char>(i * 31 + size);
        return s;
    };
    const auto results = test::run(cofork::parallel(f, sizes, {.workers = 2}));
    for (std::size_t i = 0; i < sizes.size(); ++i)
        CHECK((results[i] == f(sizes[i])));
}

TEST_CASE("a result of 256 MiB arrives where it is allowed", "[callable][result][large]")
{
    const test::leaves_nothing guard;
    constexpr std::size_t size = std::size_t{test::forks_are_slow ? 32 : 256} << 20;
    const std::vector<char> marks{'a'};
    auto f = [](char mark) {
        std::vector<char> v(size, mark);
        v.back() = 'z';
        return v;
    };
    const auto results = test::run(cofork::parallel(f, marks, {.max_result = size + 100}));
    REQUIRE(results[0].size() == size);
    CHECK(results[0].front() == 'a');
    CHECK(results[0].back() == 'z');
}

TEST_CASE("a result above max_result fails its item, and only that", "[callable][result][fault]")
{
    const test::leaves_nothing guard;
    const cofork::options o{.workers = GENERATE(0u, 1u, 2u), .max_result = 1000};
    const std::vector<std::size_t> sizes{10, 900, 1100, 100, 10'000'000, 5};
    auto f = [](std::size_t size) { return std::string(size, 'x'); };

    const auto outcomes = test::run(cofork::try_parallel(f, sizes, o));

    for (std::size_t i = 0; i < sizes.size(); ++i) {
        INFO("item " << i << (outcomes[i] ? "" : ": " + describe(outcomes[i].error())));
        REQUIRE(outcomes[i].has_value() == (sizes[i] < 1000));
        if (outcomes[i])
            CHECK(outcomes[i]->size() == sizes[i]);
        else
            CHECK(outcomes[i].error().kind == failure_kind::limit);
    }
}
