// run() and try_run(): one call in another process.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>
#include <cofork/wait.hpp>

#include <asio/use_future.hpp>

#include <atomic>
#include <csignal>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using cofork::failure_kind;

namespace {

int add(int a, int b)
{
    return a + b;
}

std::string join(const std::string& a, const std::string& b, int n)
{
    std::string all = a;
    for (int i = 0; i < n; ++i)
        all += b;
    return all;
}

int hangs()
{
    test::hang();
}

int worker_of_options(const cofork::options& o)
{
    return static_cast<int>(o.workers);
}

} // namespace

TEST_CASE("run calls f with its arguments in another process", "[run]")
{
    const test::leaves_nothing guard;
    CHECK(test::run(cofork::run(add, 2, 3)) == 5);
    CHECK(test::run(cofork::run([] { return ::getpid(); })) != ::getpid());
    CHECK(test::run(cofork::run(join, "a", std::string{"b"}, 3)) == "abbb");
    CHECK(test::run(cofork::try_run(add, 2, 3)).value() == 5);
    test::run(cofork::run([] {}));
    CHECK(test::run(cofork::try_run([] {})).has_value());
    CHECK(cofork::wait(cofork::run(add, 20, 3)) == 23);
}

TEST_CASE("captures are inherited, arguments are moved or copied in", "[run]")
{
    const test::leaves_nothing guard;
    const std::vector<int> big(1'000'000, 1);
    std::size_t n = test::run(cofork::run([&] { return big.size(); }));
    CHECK(n == 1'000'000);

    std::string text = "mine";
    auto changes = [](std::string s) {
        s += "!";
        return s;
    };
    CHECK(test::run(cofork::run(changes, text)) == "mine!");
    CHECK(text == "mine");

    auto takes = [](std::unique_ptr<int> p) { return *p; };
    auto call = cofork::run(takes, std::make_unique<int>(6));
    CHECK(test::run(std::move(call)) == 6);
}

TEST_CASE("options and a token may follow the arguments", "[run]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    const cofork::options o{.workers = 1, .timeout = 10s};
    CHECK(test::run(context, cofork::run(add, 1, 2, o)) == 3);
    auto a = cofork::run(context.get_executor(), add, 1, 3, asio::use_future);
    auto b = cofork::run(context.get_executor(), add, 1, 4, o, asio::use_future);
    auto c = cofork::try_run(context.get_executor(), hangs, cofork::options{.timeout = 30ms}, asio::use_future);
    context.restart();
    context.run_for(test::long_enough);
    CHECK(a.get() == 4);
    CHECK(b.get() == 5);
    CHECK(c.get().error().kind == failure_kind::timeout);
}

TEST_CASE("options that f itself takes are f's", "[run]")
{
    const test::leaves_nothing guard;
    CHECK(test::run(cofork::run(worker_of_options, cofork::options{.workers = 3})) == 3);
    CHECK(test::run(cofork::run(worker_of_options, cofork::options{.workers = 3}, cofork::options{.workers = 0})) == 3);
}

TEST_CASE("run throws how f failed, try_run gives it", "[run][fault]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u);
    const cofork::options o{.workers = workers};
    auto f = []() -> int { throw std::out_of_range{"too far"}; };
    try {
        test::run(cofork::run(f, o));
        FAIL("it was to throw");
    }
    catch (const cofork::item_error& e) {
        CHECK(e.why().what == "too far");
        CHECK(e.why().type == "std::out_of_range");
        CHECK(e.why().kind == failure_kind::exception);
    }
    CHECK(test::run(cofork::try_run(f, o)).error().what == "too far");
}

TEST_CASE("a crash, an exit and a hang of f are failures of the call", "[run][fault]")
{
    const test::leaves_nothing guard;
    CHECK(test::run(cofork::try_run([] { std::raise(SIGSEGV); })).error().signal == SIGSEGV);
    CHECK(test::run(cofork::try_run([] { ::_exit(9); })).error().exit_code == 9);
    CHECK(test::run(cofork::try_run(hangs, cofork::options{.timeout = 50ms})).error().kind == failure_kind::timeout);
    CHECK_THROWS_AS(test::run(cofork::run(hangs, cofork::options{.deadline = 50ms})), std::system_error);
}

TEST_CASE("another attempt gets the arguments whole", "[run][retry]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u);
    const test::shared<std::atomic<int>> starts;
    auto f = [&](std::string text) {
        if (++*starts < 3)
            throw std::runtime_error{"not yet"};
        return text;
    };
    const std::string text(1000, 'x');
    CHECK(test::run(cofork::run(f, text, cofork::options{.workers = workers, .attempts = 3})) == text);
    CHECK(*starts == 3);
}

TEST_CASE("in a pool arguments travel, and the worker's state comes first", "[run][pool]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1, .init = [] { return std::string{"state"}; }}};
    const std::string a = "a";
    CHECK(test::run(context, cofork::run(pool, join, a, std::string{"b"}, 2)) == "abb");
    auto with_state = [](std::string& state, int n) { return state + std::to_string(n); };
    CHECK(test::run(context, cofork::run(pool, with_state, 5)) == "state5");
    auto state_alone = [](std::string& state) { return state; };
    CHECK(test::run(context, cofork::run(pool, state_alone)) == "state");
    CHECK(test::run(context, cofork::try_run(pool, add, 1, 2, cofork::options{.timeout = 10s})).value() == 3);
    CHECK(test::run(context, cofork::try_run(pool, hangs, cofork::options{.timeout = 50ms})).error().kind
        == failure_kind::timeout);
    CHECK(test::run(context, cofork::run(pool, add, 1, 2)) == 3);
}

TEST_CASE("many single calls at once", "[run]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    int sum = 0;
    for (int i = 0; i < 30; ++i)
        cofork::run(
            context.get_executor(), add, i, 0, [&](std::exception_ptr e, int value) { sum += e ? 1000 : value; });
    context.run_for(test::long_enough);
    CHECK(sum == 435);
}
