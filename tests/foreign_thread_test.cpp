// What other threads may do while a call ends: destroy its stream, its handler's context, what it has lent. Each of these was a crash
// in one of a few hundred rounds; ASan and TSan see it sooner.

#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/feed.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>
#include <cofork/stream.hpp>

#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <future>
#include <memory>
#include <memory_resource>
#include <system_error>
#include <vector>

namespace {

constexpr cofork::options beside_threads{.workers = 2, .with_threads = true};

/// Runs so many on the threads, and waits for all.
template <int Count, typename Make>
void at_once(asio::thread_pool& threads, Make make)
{
    std::future<void> ends[Count];
    for (auto& each : ends)
        each = asio::co_spawn(threads, make(), asio::use_future);
    for (auto& each : ends)
        each.get();
}

asio::awaitable<void> read_without_the_end()
{
    const std::vector<int> items{1, 2};
    auto stream = cofork::stream(test::square, items, beside_threads);
    co_await stream.next();
    co_await stream.next();
}

asio::awaitable<void> read_to_the_end(cofork::pool& pool)
{
    const std::vector<int> items{1, 2};
    auto stream = std::make_unique<cofork::result_stream<int>>(cofork::stream(pool, test::square, items));
    while (co_await stream->next())
        ;
}

asio::awaitable<void> start_in_vain(std::atomic<int>& refused)
{
    cofork::feed<int> items;
    items.push(1);
    try {
        co_await cofork::parallel(test::square, items);
    }
    catch (const std::system_error& e) {
        refused += e.code() == cofork::errc::threads_running;
    }
}

asio::awaitable<void> call(cofork::pool& pool)
{
    co_await cofork::run(pool, test::square, 2);
}

asio::awaitable<void> call_and_meet(cofork::pool& pool, std::atomic<int>& there)
{
    co_await cofork::run(pool, test::square, 2);
    ++there;
    if (!test::eventually([&] { return there == 2; }, test::long_enough)) // blocks its thread, and should not block the pool
        there = -1000;
}

/// A handler that has its allocator from a member that does not stay when it is moved.
struct owning_handler {
    using allocator_type = std::pmr::polymorphic_allocator<std::byte>;

    std::unique_ptr<std::pmr::unsynchronized_pool_resource> memory = std::make_unique<std::pmr::unsynchronized_pool_resource>();
    int* result;

    allocator_type get_allocator() const noexcept { return allocator_type{memory.get()}; }
    void operator()(const std::exception_ptr&, int x) const { *result = x; }
};

/// Counts what it is told of when nobody may tell it anything any more.
struct watcher {
    bool gone = false;
    int told_late = 0;

    void update(const cofork::progress_state&) { told_late += gone; }
};

asio::awaitable<void> leave_early(cofork::pool& pool, watcher& progress, watcher& events)
{
    const std::vector<int> items(1000, 1);
    {
        auto stream = cofork::stream(
            pool, test::square, items,
            {.chunk = 1, .progress = progress, .on_event = [&](const cofork::event&) { events.told_late += events.gone; }});
        co_await stream.next();
    }
    progress.gone = events.gone = true;
}

asio::awaitable<int> leave_serial_early(std::vector<int> const& items, int& ran)
{
    int late = 0;
    {
        const auto f = [&](int x) { return ++ran, x; };
        auto stream = cofork::stream(f, items, {.workers = 0});
        co_await stream.next();
        stream.close();
        late = ran;
    }
    co_return late;
}

} // namespace

TEST_CASE("streams on several threads are left before their end", "[foreign]")
{
    const test::leaves_nothing guard;
    for (int round = 0; round < 60; ++round) {
        asio::thread_pool threads{3};
        for (int n = 0; n < 4; ++n)
            asio::co_spawn(threads, read_without_the_end(), asio::detached);
        threads.join();
    }
}

TEST_CASE("streams are destroyed in one thread as soon as another has told of their end", "[foreign]")
{
    const test::leaves_nothing guard;
    asio::thread_pool threads{3};
    {
        cofork::pool pool{threads.get_executor(), {.workers = 1, .with_threads = true}};
        for (int round = 0; round < 300; ++round) {
            at_once<3>(threads, [&] { return read_to_the_end(pool); });
        }
    }
    threads.join();
}

TEST_CASE("a call that cannot start may be over before its start returns", "[foreign]")
{
    const test::leaves_nothing guard;
    asio::thread_pool threads{2};
    std::atomic<int> refused = 0;
    for (int round = 0; round < 300; ++round) {
        at_once<3>(threads, [&] { return start_in_vain(refused); });
    }
    threads.join();
    CHECK(refused == 900);
}

TEST_CASE("the context of a handler ends as soon as it has run", "[foreign]")
{
    const test::leaves_nothing guard;
    asio::thread_pool threads{1};
    {
        cofork::pool pool{threads.get_executor(), {.workers = 1, .with_threads = true}};
        for (int round = 0; round < 300; ++round) {
            auto context = std::make_unique<asio::io_context>();
            if (round % 2 == 0)
                asio::co_spawn(asio::make_strand(*context), call(pool), asio::detached);
            else
                asio::co_spawn(*context, call(pool), asio::detached);
            context->run();
        }
    }
    threads.join();
}

TEST_CASE("what follows a call runs beside what follows another, where there are threads for it", "[foreign]")
{
    const test::leaves_nothing guard;
    asio::thread_pool threads{2};
    std::atomic<int> there = 0;
    {
        cofork::pool pool{threads.get_executor(), {.workers = 2, .with_threads = true}};
        at_once<2>(threads, [&] { return call_and_meet(pool, there); });
    }
    threads.join();
    CHECK(there == 2);
}

TEST_CASE("a handler's allocator may go with the handler", "[foreign]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 1}};
    int result = 0;
    cofork::run(pool, test::square, 3, cofork::options{}, owning_handler{.result = &result});
    context.run();
    CHECK(result == 9);
}

TEST_CASE("a stream in a pool that is left tells nobody anything any more", "[foreign]")
{
    const test::leaves_nothing guard;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    watcher progress, events;
    test::run(context, leave_early(pool, progress, events));
    test::runs_dry(context);
    CHECK(progress.told_late == 0);
    CHECK(events.told_late == 0);
}

TEST_CASE("a stream of a serial call that is left runs nothing any more", "[foreign]")
{
    asio::io_context context;
    const std::vector<int> items(100, 1);
    int ran = 0;
    const int late = test::run(context, leave_serial_early(items, ran));
    test::runs_dry(context);
    CHECK(ran == late);
    CHECK(ran < 100);
}
