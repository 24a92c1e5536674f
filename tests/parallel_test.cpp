// parallel() and try_parallel() in a snapshot: order, failures, options.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/by_bytes.hpp>
#include <cofork/error.hpp>
#include <cofork/parallel.hpp>
#include <cofork/wait.hpp>

#include <asio/detached.hpp>

#include <array>
#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using cofork::failure_kind;

namespace {

/// The failure that a call ended with.
template <typename Call>
cofork::failure failure_of(Call call)
{
    try {
        test::run(std::move(call));
    }
    catch (const cofork::item_error& e) {
        return e.why();
    }
    FAIL("no item_error");
    return {};
}

template <typename Call>
std::error_code error_of(Call call)
{
    try {
        test::run(std::move(call));
    }
    catch (const std::system_error& e) {
        INFO(e.what());
        return e.code();
    }
    FAIL("no std::system_error");
    return {};
}

/// What listens to a call's progress.
struct listener {
    std::vector<cofork::progress_state> heard;

    void update(const cofork::progress_state& s) { heard.push_back(s); }
};

/// A thread that does nothing until its end.
class idle_thread {
public:
    idle_thread() = default;
    ~idle_thread()
    {
        {
            const std::lock_guard lock{mutex_};
            over_ = true;
        }
        ended_.notify_one();
        thread_.join();
    }

private:
    std::mutex mutex_;
    std::condition_variable ended_;
    bool over_ = false;
    std::thread thread_{[this] {
        std::unique_lock lock{mutex_};
        ended_.wait(lock, [this] { return over_; });
    }};
};

} // namespace

TEST_CASE("parallel gives all values in the order of the items, from other processes", "[parallel]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(1u, 2u, 5u, cofork::all_cpus);
    const std::size_t chunk = GENERATE(0u, 1u, 7u);
    const auto items = test::numbers(1000);

    const auto answers = test::run(cofork::parallel(
        [](int x) {
            return std::pair{x * x, ::getpid()};
        },
        items, {.workers = workers, .chunk = chunk}));

    REQUIRE(answers.size() == items.size());
    for (std::size_t i = 0; i < items.size(); ++i) {
        REQUIRE(answers[i].first == items[i] * items[i]);
        REQUIRE(answers[i].second != ::getpid());
    }
}

TEST_CASE("a function that returns nothing is run for every item", "[parallel]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<int>> sum;
    const auto items = test::numbers(100);

    test::run(cofork::parallel([&](int x) { *sum += x; }, items));
    CHECK(*sum == 4950);

    const auto outcomes = test::run(cofork::try_parallel([&](int x) { *sum += x; }, items));
    CHECK(*sum == 9900);
    REQUIRE(outcomes.size() == 100);
    CHECK(outcomes[99].has_value());
}

TEST_CASE("without items there is nothing to do and nothing to fork", "[parallel]")
{
    const test::leaves_nothing guard;
    const std::vector<int> none;

    CHECK(test::run(cofork::parallel(test::square, none)).empty());
    CHECK(test::run(cofork::try_parallel(test::square, none)).empty());
    test::run(cofork::parallel([](int) {}, none));
}

TEST_CASE("workers see the memory of the moment of the call, and theirs is their own", "[parallel]")
{
    const test::leaves_nothing guard;
    std::string word = "before";
    auto f = [&word](int) {
        word += "!";
        return word;
    };
    const std::vector<int> items{1};

    auto call = cofork::parallel(f, items);
    word = "at the call"; // an awaitable starts when it is awaited
    CHECK(test::run(std::move(call)) == std::vector<std::string>{"at the call!"});
    CHECK(word == "at the call");
}

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

TEST_CASE("fresh gives every item a process of its own, with clean globals", "[parallel]")
{
    const test::leaves_nothing guard;
    static int used = 0;
    const auto items = test::numbers(12);

    const auto answers = test::run(
        cofork::parallel([](int) { return std::pair{::getpid(), ++used}; }, items, {.workers = 3, .fresh = true}));

    std::set<int> pids;
    for (const auto& [pid, uses] : answers) {
        pids.insert(pid);
        CHECK(uses == 1);
    }
    CHECK(pids.size() == 12);
}

TEST_CASE("no more items run at once than there may be workers, and as many do", "[parallel]")
{
    const test::leaves_nothing guard;
    struct meeting {
        std::atomic<int> here;
        std::atomic<int> most;
    };
    const test::shared<meeting> at;
    const auto items = test::numbers(12);
    auto f = [&](int) {
        const int here = ++at->here;
        for (int most = at->most; most < here && !at->most.compare_exchange_weak(most, here);) {
        }
        // work-under-test: waits for the others, who come soon if they may
        test::eventually([&] { return at->most >= 3; }, 2s);
        --at->here;
    };

    test::run(cofork::parallel(f, items, {.workers = 3}));
    CHECK(at->most == 3);
}

TEST_CASE("an exception from on_error or from progress ends the call with that exception", "[parallel]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(50);
    auto bad_hook = [](const cofork::failure&) { throw std::domain_error{"the hook"}; };
    struct bad_listener {
        void update(const cofork::progress_state& s)
        {
            if (s.done > 0)
                throw std::domain_error{"the listener"};
        }
    } listens;
    auto f = [](int x) {
        if (x == 7)
            throw 1;
        return x;
    };

    CHECK_THROWS_AS(test::run(cofork::parallel(f, items, {.on_error = bad_hook})), std::domain_error);
    CHECK_THROWS_AS(test::run(cofork::parallel(test::square, items, {.progress = listens})), std::domain_error);
    CHECK(error_of(cofork::try_parallel(f, items, {.on_error = bad_hook})) == cofork::errc::callback_threw);
}

TEST_CASE("progress tells the workers that run items of this call", "[parallel][progress]")
{
    const test::leaves_nothing guard;
    const test::shared<std::atomic<bool>> go;
    struct until_two {
        std::atomic<bool>& go;
        unsigned most = 0;
        void update(const cofork::progress_state& s)
        {
            most = std::max(most, s.busy);
            go = go || s.busy == 2;
        }
    };
    until_two hears{*go};
    asio::io_context context;
    cofork::pool pool{context, {.workers = 3}};
    struct waits { // the pool's workers have the address from before
        std::atomic<bool>* go;
        int operator()(int x) const
        {
            while (!*go)
                std::this_thread::yield();
            return x;
        }
    };
    const auto f = cofork::by_bytes(waits{&*go});
    cofork::parallel(pool, f, std::vector<int>{0}, {}, asio::detached); // a third worker, of another call
    test::run(context, cofork::parallel(pool, f, std::vector<int>{1, 2}, {.chunk = 1, .progress = hears}));
    CHECK(*go);
    CHECK(hears.most == 2);
}

TEST_CASE("progress begins with nothing done, only grows, and ends with everything", "[parallel][progress]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(30);
    listener hears;
    const test::shared<std::atomic<int>> starts;
    auto f = [&](int x) {
        if (x == 4)
            throw 1;
        if (x == 5 && ++*starts == 1)
            throw 1;
        return x;
    };

    test::run(cofork::try_parallel(f, items, {.workers = 2, .attempts = 2, .progress = hears}));

    REQUIRE(hears.heard.size() >= 2);
    CHECK(hears.heard.front().done == 0);
    for (std::size_t i = 1; i < hears.heard.size(); ++i) {
        CHECK(hears.heard[i].done >= hears.heard[i - 1].done);
        CHECK(hears.heard[i].elapsed >= hears.heard[i - 1].elapsed);
        CHECK(hears.heard[i - 1].finished == false);
    }
    const auto& last = hears.heard.back();
    CHECK(last.finished);
    CHECK(last.done == 30);
    CHECK(last.failed == 1);
    CHECK(last.retried == 2);
    CHECK(last.total == 30);
}

TEST_CASE("a snapshot is refused while other threads run, with the remedy in the text", "[parallel][threads]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(3);
    const idle_thread other;

    try {
        test::run(cofork::parallel(test::square, items));
        FAIL("it was to be refused");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::threads_running);
        CHECK_THAT(e.what(), ContainsSubstring("pool"));
    }
    CHECK(test::run(cofork::parallel(test::square, items, {.with_threads = true})) == std::vector<int>{0, 1, 4});
}

TEST_CASE("options that no place could honour are refused by name", "[parallel]")
{
    const test::leaves_nothing guard;
    struct row {
        cofork::options o;
        const char* name;
    };
    const row& r = GENERATE(
        row{{.attempts = 0}, "attempts"}, row{{.pause = -1ns}, "pause"}, row{{.timeout = -1ns}, "timeout"},
        row{{.deadline = -1ns}, "deadline"}, row{{.workers = 100'000}, "workers"});
    const auto items = test::numbers(3);

    try {
        test::run(cofork::parallel(test::square, items, r.o));
        FAIL("it was to be refused");
    }
    catch (const std::system_error& e) {
        CHECK(e.code() == cofork::errc::invalid_options);
        CHECK_THAT(e.what(), ContainsSubstring(r.name));
    }
}

TEST_CASE("a worker may make a call of its own", "[parallel]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(4);
    auto inner = [](int x) {
        const auto some = test::numbers(x + 1);
        const auto squares = cofork::wait(cofork::parallel(test::square, some, {.workers = 2}));
        return std::accumulate(squares.begin(), squares.end(), 0);
    };

    CHECK(test::run(cofork::parallel(inner, items, {.workers = 2})) == std::vector<int>{0, 1, 5, 14});
}

TEST_CASE("many calls at once in one context keep apart", "[parallel]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    int right = 0;
    std::vector<std::vector<int>> inputs;
    for (int i = 0; i < 20; ++i)
        inputs.push_back(test::numbers(50 + i));
    for (const auto& items : inputs) {
        cofork::parallel(context.get_executor(), test::square, items, {.workers = 2},
            [&right, &items](std::exception_ptr e, std::vector<int> squares) {
                right += !e && squares.size() == items.size() && squares.back() == test::square(items.back());
            });
    }
    context.run_for(test::long_enough);
    CHECK(right == 20);
}

TEST_CASE("wait runs a call to its end and throws what it throws", "[parallel][wait]")
{
    const test::leaves_nothing guard;
    const auto items = test::numbers(5);

    CHECK(cofork::wait(cofork::parallel(test::square, items)) == std::vector<int>{0, 1, 4, 9, 16});
    CHECK_THROWS_AS(cofork::wait(cofork::parallel([](int) { throw 1; }, items)), cofork::item_error);
    CHECK(cofork::wait(cofork::try_parallel(test::square, items)).size() == 5);
}
