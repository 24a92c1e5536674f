// parallel() and try_parallel() in a snapshot: order, memory, processes, progress, options.

#include "support/catch.hpp"
#include "support/errors.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/shared.hpp"
#include "support/work.hpp"

#include <cofork/by_bytes.hpp>
#include <cofork/error.hpp>
#include <cofork/failure.hpp>
#include <cofork/options.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/progress.hpp>
#include <cofork/wait.hpp>

#include <asio/detached.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using test::error_of;

namespace {

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
