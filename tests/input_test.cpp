// What items may be: of any input range, of any size; and what is never copied or encoded.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/options.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

#include <asio/io_context.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <deque>
#include <forward_list>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace {

const std::vector<int> doubled{2, 4, 6};

/// No codec, no copy, no move: it can only be read where it is.
class rooted {
public:
    explicit rooted(int n) : number_{n} {}
    rooted(const rooted&) = delete;
    rooted& operator=(const rooted&) = delete;

    int number() const { return number_; }
    const rooted* self = this;

private:
    int number_;
};

/// The same items in a snapshot and in a pool.
template <typename Items>
void doubles_in_both_places(Items&& items)
{
    CHECK(test::run(cofork::parallel(test::twice, items)) == doubled);
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    CHECK(test::run(context, cofork::parallel(pool, test::twice, items)) == doubled);
}

} // namespace

TEST_CASE("items may be any input range", "[input]")
{
    const test::leaves_nothing guard;
    SECTION("a vector") { doubles_in_both_places(std::vector{1, 2, 3}); }
    SECTION("an array") { doubles_in_both_places(std::array{1, 2, 3}); }
    SECTION("a deque") { doubles_in_both_places(std::deque{1, 2, 3}); }
    SECTION("a list") { doubles_in_both_places(std::list{1, 2, 3}); }
    SECTION("a forward_list") { doubles_in_both_places(std::forward_list{1, 2, 3}); }
    SECTION("a set") { doubles_in_both_places(std::set{3, 1, 2}); }
    SECTION("a C array")
    {
        const int items[] = {1, 2, 3};
        doubles_in_both_places(items);
    }
    SECTION("a span")
    {
        const std::vector items{1, 2, 3};
        doubles_in_both_places(std::span{items});
    }
    SECTION("a view")
    {
        const std::vector items{0, 1, 2};
        doubles_in_both_places(items | std::views::transform([](int x) { return x + 1; }));
        doubles_in_both_places(std::views::iota(1, 4));
        doubles_in_both_places(std::views::iota(1) | std::views::take(3));
        doubles_in_both_places(std::views::iota(0, 7) | std::views::filter([](int x) { return x > 3; })
            | std::views::transform([](int x) { return x - 3; }));
    }
    SECTION("an initializer_list")
    {
        const auto items = {1, 2, 3};
        doubles_in_both_places(items);
    }
    SECTION("booleans of a vector")
    {
        const std::vector<bool> items{true, false};
        const auto nots = test::run(cofork::parallel([](bool b) { return b ? 1 : 2; }, items));
        CHECK(nots == std::vector{1, 2});
    }
}

TEST_CASE("a range that can be read once is read once", "[input]")
{
    const test::leaves_nothing guard;
    const bool in_pool = GENERATE(false, true);
    std::istringstream text{"1 2 3"};
    auto items = std::views::istream<int>(text);
    if (in_pool) {
        asio::io_context context;
        cofork::pool pool{context};
        CHECK(test::run(context, cofork::parallel(pool, test::twice, items)) == doubled);
    }
    else
        CHECK(test::run(cofork::parallel(test::twice, std::move(items))) == doubled);
}

TEST_CASE("empty ranges of each kind give empty results", "[input][F95]")
{
    const test::leaves_nothing guard;
    std::istringstream nothing;
    std::list<int> no_list;
    const std::vector<int> no_vector;
    std::forward_list<int> no_forward;
    CHECK(test::run(cofork::parallel(test::twice, no_vector)).empty());
    CHECK(test::run(cofork::parallel(test::twice, no_list)).empty());
    CHECK(test::run(cofork::parallel(test::twice, no_forward)).empty());
    CHECK(test::run(cofork::parallel(test::twice, std::views::iota(0, 0))).empty());
    CHECK(test::run(cofork::parallel(test::twice, std::views::empty<int>)).empty());
    CHECK(test::run(cofork::parallel(test::twice, std::views::istream<int>(nothing))).empty());
    CHECK(test::run(cofork::try_parallel(test::twice, std::views::istream<int>(nothing))).empty());
    asio::io_context context;
    cofork::pool pool{context};
    CHECK(test::run(context, cofork::parallel(pool, test::twice, no_vector)).empty());
    CHECK(test::run(context, cofork::parallel(pool, test::twice, no_list)).empty());
    CHECK(pool.stats().spawned == 0);
}

TEST_CASE("in a snapshot, items of a container are read where they are: no codec, no copy, no move", "[input]")
{
    const test::leaves_nothing guard;
    const bool serial = GENERATE(false, true);
    const cofork::options o{.workers = serial ? 0u : 2u};
    auto f = [](const rooted& r) { return r.self == &r ? r.number() : -1; };
    std::list<rooted> list;
    std::deque<rooted> deque;
    std::map<int, rooted> map;
    for (int i = 0; i < 50; ++i) {
        list.emplace_back(i);
        deque.emplace_back(i);
        map.try_emplace(i, i);
    }
    std::vector<int> expected(50);
    std::iota(expected.begin(), expected.end(), 0);

    CHECK(test::run(cofork::parallel(f, list, o)) == expected);
    CHECK(test::run(cofork::parallel(f, deque, o)) == expected);
    auto second = [](const std::pair<const int, rooted>& p) { return p.second.number(); };
    CHECK(test::run(cofork::parallel(second, map, o)) == expected);
    CHECK(test::run(cofork::parallel(f, std::move(list), o)) == expected); // its nodes move with it
}

TEST_CASE("an item may be changed in the worker, and the caller's stays as it is", "[input]")
{
    const test::leaves_nothing guard;
    std::vector<std::string> items{"a", "b"};
    auto f = [](std::string& s) {
        s += "!";
        return s;
    };
    CHECK(test::run(cofork::parallel(f, items)) == std::vector<std::string>{"a!", "b!"});
    CHECK(items == std::vector<std::string>{"a", "b"});
}

TEST_CASE("move-only items may be taken by value in a snapshot", "[input]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 2u);
    const cofork::options o{.workers = workers};
    std::vector<std::unique_ptr<int>> items;
    for (int i = 1; i <= 3; ++i)
        items.push_back(std::make_unique<int>(i));
    auto takes = [](std::unique_ptr<int> p) { return 2 * *p; };
    auto looks = [](const std::unique_ptr<int>& p) { return 2 * *p; };

    CHECK(test::run(cofork::parallel(looks, items, o)) == doubled);
    CHECK(test::run(cofork::parallel(takes, items, o)) == doubled);
    CHECK(*items[2] == 3);
    CHECK(test::run(cofork::parallel(takes, std::move(items), o)) == doubled);
}

TEST_CASE("without workers f changes no item of the caller's, or is refused", "[input][serial]")
{
    const test::leaves_nothing guard;
    const cofork::options here{.workers = 0};
    std::vector<std::string> texts{"a", "b"};
    auto extends = [](std::string& s) { return s += '!'; };
    CHECK(test::run(cofork::parallel(extends, texts, here)) == std::vector<std::string>{"a!", "b!"});
    CHECK(texts == std::vector<std::string>{"a", "b"});

    struct rooted { // neither copied nor sent
        explicit rooted(int i) : n{i} {}
        rooted(rooted&&) = default;
        rooted& operator=(rooted&&) = default;
        std::unique_ptr<int[]> deep = std::make_unique<int[]>(1);
        int n;
    };
    std::vector<rooted> items;
    items.emplace_back(1);
    items.emplace_back(2);
    auto takes = [](rooted r) { return r.deep ? r.n : -1; };
    CHECK_THROWS_MATCHES(test::run(cofork::parallel(takes, items, here)), std::system_error,
        Catch::Matchers::MessageMatches(Catch::Matchers::ContainsSubstring("options::workers is 0")));
    CHECK(items[1].deep);
    CHECK(test::run(cofork::parallel(takes, std::move(items), here)) == std::vector<int>{1, 2});
}

TEST_CASE("an item that f has taken is there again for the next attempt", "[input][retry]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u);
    const test::shared<std::atomic<int>> starts;
    std::vector<std::unique_ptr<int>> items;
    for (int i = 1; i <= 3; ++i)
        items.push_back(std::make_unique<int>(i));
    auto takes = [&](std::unique_ptr<int> p) {
        if (++*starts < 3)
            throw std::runtime_error{"not yet"};
        return 2 * *p;
    };
    CHECK(test::run(cofork::parallel(takes, items, {.workers = workers, .attempts = 3})) == doubled);
    CHECK(*items[2] == 3);
}

TEST_CASE("an lvalue is borrowed, not copied", "[input]")
{
    const test::leaves_nothing guard;
    struct uncopyable : std::vector<int> {
        uncopyable() : std::vector<int>{1, 2, 3} {}
        uncopyable(const uncopyable&) = delete;
    } items;
    CHECK(test::run(cofork::parallel(test::twice, items)) == doubled);
    asio::io_context context;
    cofork::pool pool{context};
    CHECK(test::run(context, cofork::parallel(pool, test::twice, items)) == doubled);
}

TEST_CASE("large items travel", "[input]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    std::vector<std::string> items;
    for (std::size_t size : {0u, 1u, 4096u, 65535u, 65536u, 65537u, 1u << 20, 20u << 20})
        items.emplace_back(size, 'x');
    auto size = [](const std::string& s) { return s.size(); };

    const auto sizes = test::run(context, cofork::parallel(pool, size, items));
    for (std::size_t i = 0; i < items.size(); ++i)
        CHECK(sizes[i] == items[i].size());
}

TEST_CASE("an item of 256 MiB travels to a pool", "[input][large]")
{
    const test::leaves_nothing guard;
    constexpr std::size_t size = std::size_t{test::forks_are_slow ? 32 : 256} << 20;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    std::vector<std::string> items(1, std::string(size, 'x'));
    items[0].front() = 'a';
    items[0][size / 2] = 'm';
    items[0].back() = 'z';
    const auto marks = [](const std::string& s) {
        return std::string{s.front(), s[s.size() / 2], s.back()} + std::to_string(s.size());
    };

    CHECK(test::run(context, cofork::parallel(pool, marks, items)) == std::vector{"amz" + std::to_string(size)});
    const auto left = [](int item) { return item; };
    CHECK(test::run(context, cofork::parallel(pool, left, test::numbers(3))) == test::numbers(3));
}
