// Values and codecs that fail: the item pays, its worker and its neighbours do not.

#include "support/faults.hpp"

#include "frame.hpp"

#include <cofork/run.hpp>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <list>
#include <stdexcept>
#include <string>

namespace {

using cofork::failure_kind;
using test::refused;

/// Fails where it is told to. `home` is the process that is not a worker.
struct picky {
    enum trouble {
        none,
        encode_throws,
        encode_throws_in_worker,
        encode_dies_in_worker,
        decode_throws_in_worker,
        decode_throws_at_home,
        destructor_dies_in_worker
    };
    int value = 0;
    trouble what = none;
    bool armed = false;

    picky() = default;
    picky(int v, trouble t) : value{v}, what{t} {}
    picky(const picky&) = default;
    picky& operator=(const picky&) = default;
    ~picky()
    {
        if (armed && !at_home())
            ::raise(SIGKILL);
    }

    static inline pid_t home = 0;
    static bool at_home() { return ::getpid() == home; }
};

} // namespace

template <>
struct cofork::codec<picky> {
    static void encode(cofork::encoder& to, const picky& p)
    {
        if (p.what == picky::encode_throws || (p.what == picky::encode_throws_in_worker && !picky::at_home()))
            throw refused{"not encoded"};
        if (p.what == picky::encode_dies_in_worker && !picky::at_home())
            ::raise(SIGSEGV);
        to.value(p.value);
        to.value(static_cast<int>(p.what));
    }
    static picky decode(cofork::decoder& from)
    {
        picky p;
        p.value = from.value<int>();
        p.what = static_cast<picky::trouble>(from.value<int>());
        if (p.what == (picky::at_home() ? picky::decode_throws_at_home : picky::decode_throws_in_worker))
            throw refused{"not decoded"};
        p.armed = p.what == picky::destructor_dies_in_worker;
        return p;
    }
};

namespace {

int value_of(const picky& p)
{
    return 2 * p.value;
}

picky picky_result(int item)
{
    return {item, item % 10 == 3 ? static_cast<picky::trouble>(item / 10) : picky::none};
}

} // namespace

TEST_CASE("an item that cannot be encoded ends its call and nothing else", "[fault][F25]")
{
    const test::leaves_nothing nothing;
    picky::home = ::getpid();
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    std::vector<picky> items;
    for (int i = 0; i < 30; ++i)
        items.emplace_back(i, i == 20 ? picky::encode_throws : picky::none);

    CHECK_THROWS_AS(test::run(context, cofork::parallel(pool, value_of, items)), refused);
    CHECK_THROWS_AS(test::run(context, cofork::run(pool, value_of, items[20])), refused);

    const auto all = test::run(context, cofork::try_parallel(pool, value_of, items));
    REQUIRE(all.size() == 21); // the range ends with the item that it could not give
    for (std::size_t i = 0; i < 20; ++i)
        CHECK(*all[i] == 2 * static_cast<int>(i));
    REQUIRE_FALSE(all[20].has_value());
    CHECK_THAT(all[20].error().what, Catch::Matchers::ContainsSubstring("not encoded"));

    // In a snapshot nothing is encoded: the worker has the item in its memory.
    CHECK(test::run(context, cofork::parallel(value_of, items)).size() == 30);
    test::still_works(context, pool);
}

TEST_CASE("an item that cannot be decoded in the worker fails alone", "[fault][F26]")
{
    const test::leaves_nothing nothing;
    picky::home = ::getpid();
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const std::size_t chunk = GENERATE(std::size_t{1}, std::size_t{30});
    std::vector<picky> items;
    for (int i = 0; i < 30; ++i)
        items.emplace_back(i, i == 20 ? picky::decode_throws_in_worker : picky::none);
    const auto all = test::run(context, cofork::try_parallel(pool, value_of, items, {.chunk = chunk}));
    REQUIRE(all.size() == 30);
    for (std::size_t i = 0; i < 30; ++i)
        REQUIRE(all[i].has_value() == (i != 20));
    CHECK(all[20].error().kind == failure_kind::exception);
    CHECK_THAT(all[20].error().type, Catch::Matchers::ContainsSubstring("refused"));
    CHECK(pool.stats().spawned == 1);
    test::still_works(context, pool);
}

TEST_CASE("a result that cannot be encoded or decoded fails alone", "[fault][F27][F28]")
{
    const test::leaves_nothing nothing;
    picky::home = ::getpid();
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const bool in_pool = GENERATE(true, false);
    struct row {
        picky::trouble what;
        failure_kind kind;
        std::uint64_t spawned;
    };
    for (const row r : {row{picky::encode_throws_in_worker, failure_kind::exception, 0},
             row{picky::encode_dies_in_worker, failure_kind::crashed, 1},
             row{picky::decode_throws_at_home, failure_kind::exception, 0}}) {
        CAPTURE(in_pool, static_cast<int>(r.what));
        test::still_works(context, pool);
        const auto before = pool.stats().spawned;
        std::vector<int> items = test::numbers(3);
        items.push_back(10 * static_cast<int>(r.what) + 3);
        for (int i = 4; i < 9; ++i)
            items.push_back(i);
        const cofork::options o{.workers = 1, .chunk = 20};
        const auto all = in_pool ? test::run(context, cofork::try_parallel(pool, picky_result, items, o))
                                 : test::run(context, cofork::try_parallel(picky_result, items, o));
        REQUIRE(all.size() == items.size());
        for (std::size_t i = 0; i < all.size(); ++i) {
            REQUIRE(all[i].has_value() == (i != 3));
            if (all[i])
                CHECK(all[i]->value == items[i]);
        }
        CHECK(all[3].error().kind == r.kind);
        if (r.kind == failure_kind::exception)
            CHECK_THAT(all[3].error().type, Catch::Matchers::ContainsSubstring("refused"));
        else
            CHECK(all[3].error().signal == SIGSEGV);
        if (in_pool)
            CHECK(pool.stats().spawned == before + r.spawned);
    }
    test::still_works(context, pool);
}

namespace {

picky odd_among_many(int item)
{
    return {item, item % 7 == 3 || item % 7 == 4 ? picky::decode_throws_at_home : picky::none};
}

} // namespace

TEST_CASE("results that cannot be decoded fail alone, however many others come with them", "[fault][F28]")
{
    const test::leaves_nothing nothing;
    picky::home = ::getpid();
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto all = test::run(context, cofork::try_parallel(pool, odd_among_many, test::numbers(700), {.chunk = 350}));
    REQUIRE(all.size() == 700);
    for (std::size_t i = 0; i < all.size(); ++i) {
        CAPTURE(i);
        REQUIRE(all[i].has_value() == (i % 7 != 3 && i % 7 != 4));
        if (all[i])
            REQUIRE(all[i]->value == static_cast<int>(i));
        else
            REQUIRE(all[i].error().index == i);
    }
    const auto stats = pool.stats();
    CHECK(stats.done == 700);
    CHECK(stats.failed[failure_kind::exception] == 200);
    CHECK(stats.run.count == 700);
    CHECK(stats.spawned == 1);
    test::still_works(context, pool);
}

TEST_CASE("a worker that dies in an item's destructor harms no other item", "[fault][F19]")
{
    const test::leaves_nothing nothing;
    picky::home = ::getpid();
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::vector<picky> items;
    for (int i = 0; i < 30; ++i)
        items.emplace_back(i, i == 20 ? picky::destructor_dies_in_worker : picky::none);
    const auto all = test::run(context, cofork::try_parallel(pool, value_of, items, {.chunk = 30}));
    REQUIRE(all.size() == 30);
    for (std::size_t i = 0; i < 30; ++i) {
        REQUIRE(all[i].has_value() == (i != 20)); // its destructor is a part of its run
        if (all[i])
            CHECK(*all[i] == 2 * static_cast<int>(i));
    }
    CHECK(all[20].error().kind == failure_kind::crashed);
    test::still_works(context, pool);
}

TEST_CASE("results of every awkward size come whole", "[fault][F30]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](std::size_t size) {
        std::string text(size, static_cast<char>(size));
        for (std::size_t i = 0; i < size; i += sizeof i) // so that no two places are alike
            std::memcpy(text.data() + i, &i, std::min(sizeof i, size - i));
        return text;
    };
    std::vector<std::size_t> sizes{0, 1};
    for (const std::size_t around : {4096u, 65536u, 65408u, 1u << 20}) {
        for (std::size_t size = around - 40; size <= around + 40; ++size)
            sizes.push_back(size);
    }
    const std::size_t chunk = GENERATE(std::size_t{0}, std::size_t{1}, std::size_t{64});
    const auto all = test::run(context, cofork::parallel(pool, f, sizes, {.chunk = chunk}));
    REQUIRE(all.size() == sizes.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
        CAPTURE(sizes[i]);
        CHECK(all[i] == f(sizes[i]));
    }
    CHECK_NOTHROW(test::run(context, cofork::parallel(pool, [](int) {}, test::numbers(1000), {.chunk = chunk})));
    test::still_works(context, pool);
}

TEST_CASE("a result may be as long as max_result and not a byte longer", "[fault][F29][F30]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    constexpr std::size_t most = 100'000;
    cofork::detail::byte_buffer empty;
    cofork::encoder{empty}.value(std::string{});
    const std::size_t fits = most - empty.size();
    const auto f = [](std::size_t size) { return std::string(size, 'z'); };
    const std::vector<std::size_t> sizes{fits - 1, fits, fits + 1, 3, fits + 1'000'000, 4};
    const auto all = test::run(context, cofork::try_parallel(pool, f, sizes, {.chunk = 6, .max_result = most}));
    REQUIRE(all.size() == sizes.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
        CAPTURE(sizes[i]);
        REQUIRE(all[i].has_value() == (sizes[i] <= fits));
        if (all[i])
            CHECK(all[i]->size() == sizes[i]);
        else
            CHECK(all[i].error().kind == failure_kind::limit);
    }
    CHECK(pool.stats().spawned == 1);
    test::still_works(context, pool);
}

namespace {

/// Counts how many of it there are.
struct counted {
    int value = 0;
    static inline long alive = 0;

    explicit counted(int v = 0) : value{v} { ++alive; }
    counted(const counted& c) : value{c.value} { ++alive; }
    counted& operator=(const counted&) = default;
    ~counted() { --alive; }
};

} // namespace

template <>
struct cofork::codec<counted> {
    static void encode(cofork::encoder& to, const counted& c) { to.value(c.value); }
    static counted decode(cofork::decoder& from) { return counted{from.value<int>()}; }
};

TEST_CASE("items, results and callables are freed when their call is over", "[fault][F33]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](const counted& c) {
        if (c.value % 1000 == 999)
            throw std::runtime_error{"some fail"};
        return c;
    };
    const bool in_pool = GENERATE(true, false);
    const long before = counted::alive;
    {
        std::list<counted> items;
        for (int i = 0; i < 100'000; ++i)
            items.emplace_back(i);
        const auto all = in_pool ? test::run(context, cofork::try_parallel(pool, f, std::move(items)))
                                 : test::run(context, cofork::try_parallel(f, std::move(items), {.workers = 2}));
        CHECK(std::count_if(all.begin(), all.end(), [](const auto& o) { return o.has_value(); }) == 99'900);
        CHECK(counted::alive >= before + 99'900);
    }
    CHECK(counted::alive == before);
}
