// pool_options::init: the state that each worker of a pool makes, and what becomes of calls when it cannot be made.

#include "support/catch.hpp"
#include "support/counts.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>

#include <asio/io_context.hpp>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <unistd.h>

using Catch::Matchers::ContainsSubstring;
using test::counted;
using test::counts;
using test::error_of;

TEST_CASE("each worker makes its state once, and f gets it as its first argument", "[pool][init]")
{
    const test::leaves_nothing guard;
    const test::shared<counts> shared;
    counted = &*shared;
    struct state {
        std::string name;
        int uses;
    };
    asio::io_context context;
    const std::string name = "captured"; // init may capture what it likes: it is inherited
    cofork::pool pool{context, {.workers = 2, .init = [name] {
                                    ++counted->inits;
                                    return state{name, 0};
                                }}};
    const auto items = test::numbers(200);
    auto f = [](state& s, int x) {
        ++s.uses;
        return std::pair{s.name + std::to_string(x), ::getpid()};
    };

    const auto results = test::run(context, cofork::parallel(pool, f, items));
    std::set<int> pids;
    for (std::size_t i = 0; i < 200; ++i) {
        CHECK(results[i].first == "captured" + std::to_string(i));
        pids.insert(results[i].second);
    }
    CHECK(static_cast<std::size_t>(shared->inits) >= pids.size());
    CHECK(shared->inits <= 2);

    const auto uses = [](state& s, int) { return s.uses; };
    CHECK(test::run(context, cofork::run(pool, uses, 0)) > 0); // it lives as long as the worker
    CHECK(test::run(context, cofork::run(pool, test::square, 3)) == 9); // f need not take it
    test::runs_dry(context);
}

TEST_CASE("an f whose state the pool does not make is refused", "[pool][init]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool without{context};
    cofork::pool of_ints{context, {.init = [] { return 5; }}};
    auto f = [](std::string& s, int) { return s; };
    auto g = [](int& i, int x) { return i + x; };
    const auto items = test::numbers(3);

    CHECK(error_of(context, cofork::parallel(without, f, items)) == cofork::errc::invalid_options);
    CHECK(error_of(context, cofork::parallel(of_ints, f, items)) == cofork::errc::invalid_options);
    CHECK(test::run(context, cofork::parallel(of_ints, g, items)) == std::vector<int>{5, 6, 7});
    test::runs_dry(context);
}

TEST_CASE("an init that throws or crashes fails the call, not the program", "[pool][init][fault][F50]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const auto items = test::numbers(3);
    SECTION("it throws")
    {
        cofork::pool pool{context, {.workers = 2, .init = []() -> int { throw std::runtime_error{"no database"}; }}};
        try {
            test::run(context, cofork::parallel(pool, test::square, items));
            FAIL("it was to throw");
        }
        catch (const std::system_error& e) {
            CHECK(e.code() == cofork::errc::boot_failed);
            CHECK_THAT(e.what(), ContainsSubstring("no database"));
        }
    }
    SECTION("it crashes")
    {
        cofork::pool pool{context, {.workers = 2, .init = []() -> int { std::abort(); }}};
        CHECK(error_of(context, cofork::parallel(pool, test::square, items)) == cofork::errc::boot_failed);
    }
    test::runs_dry(context);
}

namespace {

std::atomic<int>* makings = nullptr;

} // namespace

TEST_CASE("an init that fails the first times and then works is not noticed", "[pool][init][fault][F51]")
{
    const test::leaves_nothing guard;
    const bool crashes = GENERATE(false, true);
    CAPTURE(crashes);
    test::shared<std::atomic<int>> tries;
    makings = &*tries;
    asio::io_context context;
    const auto make = [crashes] {
        if (++*makings > 3)
            return 7;
        if (crashes)
            std::abort();
        throw std::runtime_error{"not yet"};
    };
    cofork::pool pool{context, {.workers = 2, .init = make}};
    const auto items = test::numbers(50);
    CHECK(test::run(context, cofork::parallel(pool, test::square, items)).back() == test::square(49));
    CHECK(tries->load() > 3);
    test::runs_dry(context);
}
