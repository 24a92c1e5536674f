// attempts, retry_on and on_error: a failed item is started again.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/failure.hpp>
#include <cofork/options.hpp>
#include <cofork/parallel.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <stdexcept>
#include <vector>

using namespace std::chrono_literals;
using test::failure_of;

TEST_CASE(
    "a failed item is started again as often as attempts says, and on_error hears each failure", "[parallel][retry]")
{
    const test::leaves_nothing guard;
    const test::shared<std::array<std::atomic<int>, 4>> starts;
    const auto items = test::numbers(4);
    auto f = [&](int x) {
        const int start = ++(*starts)[static_cast<std::size_t>(x)];
        if (x == 1 && start < 3)
            throw std::runtime_error{"again"};
        if (x == 2 && start < 3)
            std::raise(SIGKILL);
        if (x == 3)
            throw std::runtime_error{"never"};
        return x;
    };
    std::vector<cofork::failure> heard;
    auto hear = [&](const cofork::failure& why) { heard.push_back(why); };

    const auto outcomes = test::run(cofork::try_parallel(f, items, {.workers = 2, .attempts = 3, .on_error = hear}));

    CHECK(outcomes[0].has_value());
    CHECK(outcomes[1].has_value());
    CHECK(outcomes[2].has_value());
    REQUIRE_FALSE(outcomes[3].has_value());
    CHECK(outcomes[3].error().attempts == 3);
    CHECK((*starts)[0] == 1);
    CHECK((*starts)[1] == 3);
    CHECK((*starts)[2] == 3);
    CHECK((*starts)[3] == 3);
    CHECK(heard.size() == 7);
    std::vector<unsigned> of_one;
    for (const auto& why : heard) {
        if (why.index == 1)
            of_one.push_back(why.attempts);
    }
    CHECK(of_one == std::vector<unsigned>{1, 2});
}

TEST_CASE("only failures that are worth it are tried again", "[parallel][retry][F10]")
{
    const test::leaves_nothing guard;
    struct row {
        cofork::retry_on again;
        int starts[3]; // of an item that throws, one that crashes, one that hangs
    };
    const row& r = GENERATE(
        row{cofork::retry_on::exception, {2, 1, 1}}, row{cofork::retry_on::crash, {1, 2, 1}},
        row{cofork::retry_on::timeout, {1, 1, 2}}, row{cofork::retry_on::crash | cofork::retry_on::timeout, {1, 2, 2}},
        row{cofork::retry_on::any, {2, 2, 2}});
    const test::shared<std::array<std::atomic<int>, 3>> starts;
    const auto items = test::numbers(3);
    const auto limit = test::forks_are_slow ? 1000ms : 50ms;
    auto f = [&](int x) {
        ++(*starts)[static_cast<std::size_t>(x)];
        if (x == 0)
            throw 1;
        if (x == 1)
            std::raise(SIGKILL);
        test::hang();
    };

    const auto outcomes =
        test::run(cofork::try_parallel(f, items, {.workers = 3, .timeout = limit, .attempts = 2, .again = r.again}));

    for (std::size_t i = 0; i < 3; ++i) {
        INFO("item " << i);
        CHECK((*starts)[i] == r.starts[i]);
        CHECK(outcomes[i].error().attempts == static_cast<unsigned>(r.starts[i]));
    }
}

TEST_CASE("parallel fails when attempts are used up, not before", "[parallel][retry]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> starts;
    const std::vector<int> items{0};
    auto f = [&](int) {
        if (++*starts < 4)
            std::raise(SIGSEGV);
        return 1;
    };

    CHECK(failure_of(cofork::parallel(f, items, {.attempts = 3})).attempts == 3);
    CHECK(*starts == 3);
    CHECK(test::run(cofork::parallel(f, items, {.attempts = 2})).front() == 1);
}
