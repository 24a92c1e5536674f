// The program cancels, destroys, stops, or dies itself: nothing of ours outlives it, and every call ends once.

#include "support/faults.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <array>
#include <optional>
#include <ranges>
#include <thread>

#include <pthread.h>
#include <sys/syscall.h>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

struct board {
    std::array<std::atomic<int>, 1024> starts;
    std::array<std::atomic<pid_t>, 64> pids;
    std::atomic<int> running;
    std::atomic<int> answer;
};
board* now = nullptr;

struct shared_board {
    test::shared<board> memory;
    shared_board() { now = &*memory; }
    ~shared_board() { now = nullptr; }
};

/// Notes that it runs, and never ends.
int stuck(int item)
{
    now->pids[static_cast<std::size_t>(item) % 64] = ::getpid();
    ++now->starts[static_cast<std::size_t>(item)];
    ++now->running;
    test::hang();
}

std::error_code code_of(const std::exception_ptr& error)
{
    REQUIRE(error);
    try {
        std::rethrow_exception(error);
    }
    catch (const std::system_error& e) {
        return e.code();
    }
    catch (...) {
        FAIL("not a std::system_error");
    }
    return {};
}

using values = std::vector<int>;

/// A call that is completed by hand.
struct ended {
    int times = 0;
    std::exception_ptr error;
    values got;

    auto handler()
    {
        return [this](std::exception_ptr e, values v) {
            ++times;
            error = std::move(e);
            got = std::move(v);
        };
    }
};

bool all_gone(int count)
{
    return std::all_of(now->pids.begin(), now->pids.begin() + count, [](const auto& pid) { return pid == 0 || test::is_gone(pid); });
}

} // namespace

TEST_CASE("a cancelled call ends once, its running workers with it", "[fault][F56][F57]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const bool in_pool = GENERATE(true, false);
    CAPTURE(in_pool);
    asio::cancellation_signal cancel;
    ended call;
    const values items = test::numbers(10);
    auto token = asio::bind_cancellation_slot(cancel.slot(), call.handler());
    if (in_pool)
        cofork::parallel(pool, stuck, items, {.chunk = 1}, std::move(token));
    else
        cofork::parallel(context.get_executor(), stuck, items, {.workers = 2, .chunk = 1}, std::move(token));
    REQUIRE(test::run_until(context, [] { return now->running == 2; }));

    cancel.emit(asio::cancellation_type::terminal);

    REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
    CHECK(code_of(call.error) == asio::error::operation_aborted);
    CHECK(all_gone(2));
    for (std::size_t i = 2; i < items.size(); ++i)
        CHECK(now->starts[i] == 0); // never sent
    test::still_works(context, pool);
    CHECK(call.times == 1);
}

TEST_CASE("a gentle cancellation lets what runs end and starts nothing new", "[fault][F56]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto type = GENERATE(asio::cancellation_type::partial, asio::cancellation_type::total);
    asio::cancellation_signal cancel;
    ended call;
    const auto f = [](int item) {
        ++now->starts[static_cast<std::size_t>(item)];
        ++now->running;
        while (now->answer == 0)
            ;
        return item;
    };
    const values items = test::numbers(100);
    const std::size_t chunk = GENERATE(std::size_t{1}, std::size_t{50});
    cofork::parallel(pool, f, items, {.chunk = chunk}, asio::bind_cancellation_slot(cancel.slot(), call.handler()));
    REQUIRE(test::run_until(context, [] { return now->running == 2; }));

    cancel.emit(type);
    while (context.poll() > 0)
        ;
    CHECK(call.times == 0);
    now->answer = 1;

    REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
    CHECK(code_of(call.error) == asio::error::operation_aborted);
    CHECK(now->running == 2);
    CHECK(pool.stats().killed == 0);
    test::still_works(context, pool);
    CHECK(call.times == 1);
}

TEST_CASE("cancellation that races with completion leaves one of the two", "[fault][F58]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    test::still_works(context, pool);
    int completed = 0;
    int aborted = 0;
    constexpr int rounds = 3000;
    for (int round = 0; round < rounds; ++round) {
        asio::cancellation_signal cancel;
        ended call;
        const values items = test::numbers(2);
        cofork::parallel(pool, test::twice, items, {}, asio::bind_cancellation_slot(cancel.slot(), call.handler()));
        for (int step = 0; step < round % 40 && call.times == 0; ++step)
            context.run_one_for(100us);
        cancel.emit(round % 3 == 0 ? asio::cancellation_type::total : asio::cancellation_type::terminal);
        REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
        REQUIRE(call.times == 1);
        if (call.error) {
            ++aborted;
            REQUIRE(code_of(call.error) == asio::error::operation_aborted);
        }
        else {
            ++completed;
            test::require_twice(call.got, 2);
        }
    }
    CHECK(completed > 0);
    CHECK(aborted > 0);
    CHECK(completed + aborted == rounds);
    test::still_works(context, pool);
}

TEST_CASE("of a coroutine and a timer the loser is stopped", "[fault][F59]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(4);
    const auto waits = [&](bool in_pool) -> asio::awaitable<values> {
        if (in_pool)
            co_return co_await cofork::parallel(pool, stuck, items);
        co_return co_await cofork::parallel(stuck, items, {.workers = 2});
    };
    for (const bool in_pool : {true, false}) {
        CAPTURE(in_pool);
        now->running = 0;
        asio::cancellation_signal cancel;
        asio::steady_timer timer{context, test::forks_are_slow ? 2000ms : 50ms};
        timer.async_wait([&](std::error_code) { cancel.emit(asio::cancellation_type::terminal); });
        ended call;
        asio::co_spawn(context, waits(in_pool), asio::bind_cancellation_slot(cancel.slot(), call.handler()));
        REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
        CHECK(code_of(call.error) == asio::error::operation_aborted);
        CHECK(now->running > 0);
        CHECK(test::eventually([] { return all_gone(4); }));
    }
    test::still_works(context, pool);
}

TEST_CASE("a call that fails stops the call that is awaited beside it", "[fault][F59][F60]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(1);
    const auto fails = [](int) -> int {
        while (now->running == 0)
            ;
        throw std::runtime_error{"no"};
    };
    asio::cancellation_signal cancel;
    ended loser;
    bool failed = false;
    cofork::parallel(pool, stuck, items, {}, asio::bind_cancellation_slot(cancel.slot(), loser.handler()));
    cofork::parallel(pool, fails, items, {}, [&](std::exception_ptr error, const values&) {
        failed = error != nullptr;
        cancel.emit(asio::cancellation_type::terminal);
    });
    REQUIRE(test::run_until(context, [&] { return loser.times > 0; }));
    CHECK(failed);
    CHECK(code_of(loser.error) == asio::error::operation_aborted);
    CHECK(all_gone(1));
    test::still_works(context, pool);
    CHECK(loser.times == 1);
}

TEST_CASE("the first failure ends parallel and stops the rest", "[fault][F60]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const auto f = [](int item) {
        if (item == 0)
            return stuck(item);
        if (item == 1) {
            while (now->running == 0)
                ;
            throw std::runtime_error{"no"};
        }
        ++now->starts[static_cast<std::size_t>(item)];
        return item;
    };
    const bool in_pool = GENERATE(true, false);
    const values items = test::numbers(100);
    const cofork::options o{.workers = 2, .chunk = 1};
    try {
        if (in_pool)
            test::run(context, cofork::parallel(pool, f, items, o));
        else
            test::run(context, cofork::parallel(f, items, o));
        FAIL("it did not throw");
    }
    catch (const cofork::item_error& e) {
        CHECK(e.why().index == 1);
        CHECK(e.why().kind == failure_kind::exception);
        CHECK(e.why().what == "no");
    }
    CHECK(all_gone(1));
    test::still_works(context, pool);
}

TEST_CASE("a context that is stopped completes nothing, and goes on when it is restarted", "[fault][F61]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(500);
    ended call;
    cofork::parallel(pool, test::twice, items, {}, call.handler());
    while (call.times == 0) {
        context.run_one_for(1ms);
        context.stop();
        CHECK(context.run_one() == 0);
        context.restart();
    }
    CHECK(call.times == 1);
    test::require_twice(call.got, items.size());
}

TEST_CASE("a context that is destroyed takes its workers with it", "[fault][F62]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    enum class verb { parallel, stream, pool, pool_outlives, coroutine };
    const verb what = GENERATE(verb::parallel, verb::stream, verb::pool, verb::pool_outlives, verb::coroutine);
    CAPTURE(static_cast<int>(what));
    for (int turns = 0; turns < 60; turns += 3) {
        now->running = 0;
        ended call;
        const values items = test::numbers(40);
        std::optional<cofork::pool> outlives;
        std::optional<cofork::result_stream<int>> results;
        {
            asio::io_context context{1};
            std::optional<cofork::pool> pool;
            if (what == verb::parallel)
                cofork::parallel(context.get_executor(), stuck, items, {.workers = 2}, call.handler());
            else if (what == verb::stream) {
                results.emplace(cofork::stream(context.get_executor(), stuck, items, {.workers = 2}));
                results->next([](std::exception_ptr, auto) { FAIL("completed though its context is gone"); });
            }
            else if (what == verb::pool) {
                pool.emplace(context, cofork::pool_options{.workers = 2});
                cofork::parallel(*pool, stuck, items, {}, call.handler());
            }
            else if (what == verb::pool_outlives) {
                outlives.emplace(context, cofork::pool_options{.workers = 2});
                cofork::parallel(*outlives, stuck, items, {}, call.handler());
            }
            else
                asio::co_spawn(context, cofork::parallel(stuck, items, {.workers = 2}), call.handler());
            if (turns == 57)
                REQUIRE(test::run_until(context, [] { return now->running == 2; }));
            else {
                for (int i = 0; i < turns; ++i)
                    context.run_one_for(50us);
            }
        }
        CHECK(call.times == 0);
        CHECK(test::eventually([] { return test::nurseries().empty(); }));
        CHECK(all_gone(64));
    }
}

TEST_CASE("a pool that ends completes every call with pool_closed", "[fault][F63]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    std::optional<cofork::pool> pool{std::in_place, context, cofork::pool_options{.workers = 2}};
    const bool destroy = GENERATE(true, false);
    std::array<ended, 3> calls;
    const values items = test::numbers(10);
    for (auto& call : calls)
        cofork::parallel(*pool, stuck, items, {.chunk = 1}, call.handler());
    REQUIRE(test::run_until(context, [] { return now->running == 2; }));

    if (destroy)
        pool.reset();
    else {
        pool->close();
        pool->close();
    }
    CHECK(test::nurseries().empty()); // reaped when it returns
    CHECK(all_gone(10));
    for (auto& call : calls)
        CHECK(call.times == 0); // never from inside
    for (auto& call : calls) {
        REQUIRE(test::run_until(context, [&] { return call.times > 0; }));
        CHECK(code_of(call.error) == cofork::errc::pool_closed);
    }
    if (pool) {
        ended refused;
        cofork::parallel(*pool, test::twice, items, {}, refused.handler());
        REQUIRE(test::run_until(context, [&] { return refused.times > 0; }));
        CHECK(code_of(refused.error) == cofork::errc::pool_closed);
    }
    test::snapshot_works(context);
    for (auto& call : calls)
        CHECK(call.times == 1);
}

namespace {

struct closer {
    std::optional<cofork::pool>* pool = nullptr;
    bool destroy = false;
    int calls = 0;

    void operator()()
    {
        ++calls;
        if (!*pool)
            return;
        if (destroy)
            pool->reset();
        else
            (*pool)->close();
    }
    void update(const cofork::progress_state& state)
    {
        if (state.done >= 3)
            (*this)();
    }
};

int third_throws(int item)
{
    if (item % 3 == 2)
        throw std::runtime_error{"third"};
    return item;
}

} // namespace

TEST_CASE("a pool may be closed and destroyed from inside its calls' callbacks", "[fault][F63]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    std::optional<cofork::pool> pool{std::in_place, context, cofork::pool_options{.workers = 2}};
    const bool destroy = GENERATE(true, false);
    closer close{&pool, destroy};
    enum class from { on_error, progress, completion, range };
    const from where = GENERATE(from::on_error, from::progress, from::completion, from::range);
    CAPTURE(destroy, static_cast<int>(where));
    const values items = test::numbers(1000);
    int times = 0;
    std::error_code ended_with;
    const auto handler = [&](std::error_code ec, const std::vector<cofork::outcome<int>>&) {
        ++times;
        ended_with = ec;
    };
    if (where == from::on_error)
        cofork::try_parallel(*pool, third_throws, items, {.on_error = [&close](const cofork::failure&) { close(); }}, handler);
    else if (where == from::progress)
        cofork::try_parallel(*pool, third_throws, items, {.progress = close}, handler);
    else if (where == from::completion) {
        const values one{0}; // runs until it is killed
        cofork::try_parallel(*pool, stuck, one, {}, handler);
        cofork::try_run(*pool, test::twice, 1, [&](std::error_code, cofork::outcome<int>) { close(); });
        REQUIRE(test::run_until(context, [&] { return times > 0; })); // before the items go
    }
    else {
        auto range = items | std::views::filter([&close](int i) {
            if (i == 50)
                close();
            return true;
        });
        cofork::try_parallel(*pool, third_throws, range, {}, handler);
        REQUIRE(test::run_until(context, [&] { return times > 0; }));
    }
    REQUIRE(test::run_until(context, [&] { return times > 0; }));
    CHECK(ended_with == cofork::errc::pool_closed);
    CHECK(close.calls > 0);
    while (context.poll() > 0)
        ;
    CHECK(times == 1);
    CHECK(test::eventually([] { return test::nurseries().empty(); }));
    test::snapshot_works(context);
}

namespace {

/// Everything that a program may have running when it dies.
[[noreturn]] void busy_program(void (*die)())
{
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const values items = test::numbers(2);
    cofork::parallel(pool, stuck, items, {.chunk = 1}, [](std::exception_ptr, values) {});
    const values more{2, 3};
    cofork::parallel(context.get_executor(), stuck, more, {.workers = 2, .chunk = 1}, [](std::exception_ptr, values) {});
    while (now->running < 4)
        context.run_one_for(1ms);
    die();
    test::hang();
}

} // namespace

TEST_CASE("a program that dies takes all its workers with it", "[fault][F64]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const shared_board shared;
    using ending = void (*)();
    const ending die = GENERATE(
        ending{[] { ::raise(SIGKILL); }}, ending{[] { ::raise(SIGABRT); }}, ending{[] { ::raise(SIGTERM); }}, ending{[] { ::_exit(0); }},
        ending{[] { std::exit(0); }});
    test::helper_process program{[&] { busy_program(die); }};
    (void)program.status();
    const bool gone = test::eventually([] {
        while (::waitpid(-1, nullptr, WNOHANG) > 0)
            ;
        return all_gone(4);
    });
    CHECK(now->running == 4);
    CHECK(gone);
}

TEST_CASE("a thread that made a pool may end without its workers", "[fault][F64]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    std::optional<cofork::pool> pool;
    std::thread{[&] { pool.emplace(context, cofork::pool_options{.workers = 2, .with_threads = true}); }}.join();
    std::thread{[&] { test::still_works(context, *pool); }}.join();
    const auto before = test::workers();
    CHECK_FALSE(before.empty());
    test::still_works(context, *pool);
    const auto after = test::workers(); // perhaps one more: the pool may have two
    for (const auto worker : before)
        CHECK(std::find(after.begin(), after.end(), worker) != after.end());
}

TEST_CASE("a program goes on with its workers when its main thread has ended", "[fault][F64]")
{
    const test::leaves_nothing nothing;
    test::helper_process program{[] {
        const auto context = new asio::io_context{1}; // the frame of the main thread goes
        const auto pool = new cofork::pool{*context, {.workers = 2, .min_workers = 2}};
        test::still_works(*context, *pool);
        const auto before = test::workers();
        std::thread{[=] {
            const auto path = "/proc/self/task/" + std::to_string(::getpid()) + "/stat";
            bool fine = test::eventually([&] { return test::text_of(path).find(") Z ") != std::string::npos; });
            test::still_works(*context, *pool);
            fine = fine && before.size() == 2 && std::ranges::none_of(before, test::is_gone);
            delete pool;
            ::_exit(fine ? 0 : 1);
        }}.detach();
        ::syscall(SYS_exit, 0); // as pthread_exit, but for the unwinding, which the helper's frames forbid
    }};
    CHECK(program.status() == 0);
}

TEST_CASE("Ctrl-C reaches the program and none of its workers", "[fault][F65]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    test::helper_process program{[] {
        ::setpgid(0, 0);
        asio::io_context context{1};
        asio::signal_set interrupts{context, SIGINT};
        int interrupted = 0;
        interrupts.async_wait([&](std::error_code ec, int) { interrupted += ec ? 0 : 1; });
        cofork::pool pool{context, {.workers = 2}};
        const auto f = [](int item) {
            ++now->running;
            while (now->answer == 0)
                ;
            return 2 * item;
        };
        const values items = test::numbers(2);
        test::started call{context, cofork::parallel(pool, f, items, {.chunk = 1})};
        bool fine = test::run_until(context, [] { return now->running == 2; });
        ::kill(0, SIGINT); // as the terminal does: to the whole foreground group
        fine = fine && test::run_until(context, [&] { return interrupted == 1; });
        now->answer = 1;
        fine = fine && call.finish() == values{0, 2};
        ::_exit(fine ? 0 : 1);
    }};
    CHECK(program.status() == 0);
    CHECK(test::eventually([] { return test::workers().empty(); }));
}
