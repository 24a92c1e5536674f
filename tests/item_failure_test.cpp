// How items of parallel() and try_parallel() fail: which failure ends the call, and what is left of the others.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/outcome.hpp>
#include <cofork/parallel.hpp>

#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <iterator>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using cofork::failure_kind;
using test::error_of;
using test::failure_of;

TEST_CASE("the first failure in time ends the call and names its item", "[parallel][fault]")
{
    const test::leaves_nothing guard;
    auto f = [](int x) {
        if (x == 3)
            throw std::out_of_range{"three is too much"};
        if (x == 0)
            test::hang(); // it fails later than the other, or never
        return x;
    };
    const auto items = test::numbers(8);

    const auto why = failure_of(cofork::parallel(f, items, {.workers = 2, .chunk = 1}));

    CHECK(why.kind == failure_kind::exception);
    CHECK(why.index == 3);
    CHECK(why.what == "three is too much");
    CHECK(why.type == "std::out_of_range");
    CHECK(why.attempts == 1);
    CHECK(why.pid > 0);
    CHECK(why.pid != ::getpid());
}

TEST_CASE("item_error says which item, what and where", "[parallel][fault]")
{
    const test::leaves_nothing guard;
    const std::vector<int> items{7};

    try {
        test::run(cofork::parallel([](int) -> int { throw std::runtime_error{"no luck"}; }, items));
        FAIL("it was to throw");
    }
    catch (const cofork::item_error& e) {
        CHECK_THAT(e.what(), ContainsSubstring("item 0"));
        CHECK_THAT(e.what(), ContainsSubstring("no luck"));
        CHECK_THAT(e.what(), ContainsSubstring("std::runtime_error"));
        CHECK_THAT(e.what(), ContainsSubstring(std::to_string(e.why().pid)));
    }
}

namespace {

// One row per way of an item to fail. What it does to the others is the same each time: nothing.
struct fault {
    const char* name;
    void (*body)();
    failure_kind kind;
    int signal;
    int exit_code;
    const char* what;
};

const fault faults[] = {
    {"throws", [] { throw std::runtime_error{"oh"}; }, failure_kind::exception, 0, -1, "oh"},
    {"throws no std::exception", [] { throw 5; }, failure_kind::exception, 0, -1, ""},
    {"exits", [] { ::_exit(7); }, failure_kind::crashed, 0, 7, "7"},
    {"exits with success", [] { ::_exit(0); }, failure_kind::crashed, 0, 0, "0"},
    {"calls exit", [] { std::exit(3); }, failure_kind::crashed, 0, 3, "3"},
    {"segfaults", [] { std::raise(SIGSEGV); }, failure_kind::crashed, SIGSEGV, -1, ""},
    {"aborts", [] { std::abort(); }, failure_kind::crashed, SIGABRT, -1, ""},
    {"terminates", [] { std::terminate(); }, failure_kind::crashed, SIGABRT, -1, ""},
    {"is killed", [] { ::kill(::getpid(), SIGKILL); }, failure_kind::crashed, SIGKILL, -1, ""},
    {"is terminated", [] { ::kill(::getpid(), SIGTERM); }, failure_kind::crashed, SIGTERM, -1, ""},
    {"hangs", [] { test::hang(); }, failure_kind::timeout, SIGKILL, -1, ""},
};

} // namespace

TEST_CASE("one item's failure is its own outcome, and all others have their values", "[parallel][fault]")
{
    const test::leaves_nothing guard;
    const fault& row = GENERATE(from_range(std::begin(faults), std::end(faults)));
    const std::size_t chunk = GENERATE(0u, 1u, 4u);
    INFO("item 5 " << row.name << ", chunk " << chunk);
    const auto items = test::numbers(12);
    auto f = [&row](int x) {
        if (x == 5)
            row.body();
        return 2 * x;
    };

    const auto outcomes = test::run(cofork::try_parallel(f, items, {.workers = 2, .timeout = 300ms, .chunk = chunk}));

    REQUIRE(outcomes.size() == 12);
    for (std::size_t i = 0; i < 12; ++i) {
        INFO("item " << i << (outcomes[i] ? "" : ": " + describe(outcomes[i].error())));
        REQUIRE(outcomes[i].has_value() == (i != 5));
        if (i != 5)
            CHECK(*outcomes[i] == 2 * static_cast<int>(i));
    }
    const auto& why = outcomes[5].error();
    CHECK(why.kind == row.kind);
    CHECK(why.index == 5);
    CHECK(why.signal == row.signal);
    CHECK(why.exit_code == row.exit_code);
    CHECK_THAT(why.what, ContainsSubstring(row.what));
    CHECK(why.attempts == 1);
}

TEST_CASE("every item may fail", "[parallel][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(40);
    auto f = [](int x) -> int {
        if (x % 2)
            throw std::runtime_error{"odd"};
        std::raise(SIGKILL);
        return 0;
    };

    const auto outcomes = test::run(cofork::try_parallel(f, items, {.workers = 3}));

    REQUIRE(outcomes.size() == 40);
    for (std::size_t i = 0; i < 40; ++i) {
        REQUIRE_FALSE(outcomes[i].has_value());
        CHECK(outcomes[i].error().index == i);
        CHECK(outcomes[i].error().kind == (i % 2 ? failure_kind::exception : failure_kind::crashed));
    }
}

TEST_CASE("a timeout counts from the item's own start and takes only that item", "[parallel][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(6);
    auto f = [](int x) {
        if (x == 2)
            test::hang();
        std::this_thread::sleep_for(30ms); // work-under-test: together longer than the timeout, alone shorter
        return x;
    };

    const auto outcomes = test::run(cofork::try_parallel(f, items, {.workers = 1, .timeout = 130ms, .chunk = 6}));

    for (std::size_t i = 0; i < 6; ++i) {
        INFO("item " << i << (outcomes[i] ? "" : ": " + describe(outcomes[i].error())));
        CHECK(outcomes[i].has_value() == (i != 2));
    }
    CHECK(outcomes[2].error().kind == failure_kind::timeout);
    CHECK(outcomes[2].error().elapsed >= 130ms);
}

TEST_CASE("a deadline ends the whole call", "[parallel][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(6);
    auto f = [](int x) {
        if (x == 1)
            test::hang();
        return x;
    };

    const auto before = std::chrono::steady_clock::now();
    CHECK(
        error_of(cofork::parallel(f, items, {.workers = 2, .deadline = 200ms, .chunk = 1})) == cofork::errc::deadline);
    CHECK(std::chrono::steady_clock::now() - before >= 200ms);
    CHECK(error_of(cofork::try_parallel(f, items, {.deadline = 50ms})) == cofork::errc::deadline);
}

TEST_CASE(
    "a try_parallel that ends early gives what there is, and says of the rest that it was overtaken",
    "[parallel][fault]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(6);
    const test::shared<std::atomic<int>> done;
    auto f = [&](int x) {
        if (x == 2)
            test::hang();
        ++*done;
        return x;
    };

    std::error_code ended;
    std::vector<cofork::outcome<int>> got;
    asio::io_context context;
    cofork::try_parallel(context.get_executor(), f, items, {.workers = 2, .deadline = 300ms, .chunk = 1},
        [&](std::error_code ec, std::vector<cofork::outcome<int>> outcomes) {
            ended = ec;
            got = std::move(outcomes);
        });
    context.run_for(test::long_enough);

    CHECK(ended == cofork::errc::deadline);
    REQUIRE(got.size() == 6);
    REQUIRE_FALSE(got[2].has_value());
    CHECK(got[2].error().kind == failure_kind::cancelled);
    CHECK(got[2].error().index == 2);
    CHECK(got[0].value() == 0);
    CHECK(*done == 5);

    got.clear();
    context.restart();
    cofork::try_parallel(context.get_executor(), [](int) { test::hang(); }, items, {.workers = 1, .deadline = 20ms},
        [&](std::error_code, std::vector<cofork::outcome<void>> outcomes) {
            for (auto& o : outcomes)
                got.push_back(o ? cofork::outcome<int>{0} : cofork::outcome<int>{o.error()});
        });
    context.run_for(test::long_enough);
    REQUIRE(got.size() == 6);
    CHECK(got[5].error().kind == failure_kind::cancelled);
    CHECK(got[5].error().index == 5);
}
