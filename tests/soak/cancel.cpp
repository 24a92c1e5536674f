// S7: calls are cancelled, pools and contexts destroyed at random points. Each call ends once, completed or cut short.

#include "checks.hpp"

#include "ledger.hpp"
#include "trial.hpp"

#include "../support/faults.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <latch>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace soak {

namespace {

using namespace std::chrono_literals;

const cofork::pool_options two_workers{.workers = 2, .with_threads = under_tsan};

/// Hands out trials, and counts how they ended.
class trials {
public:
    explicit trials(std::uint64_t seed) : random{static_cast<std::uint32_t>(mix(seed, 7) | 1)} { trial_starts = &starts_; }
    ~trials() { trial_starts = nullptr; }
    trials(const trials&) = delete;
    trials& operator=(const trials&) = delete;

    std::unique_ptr<trial> make()
    {
        const std::size_t first = next_;
        next_ += trial::most_items;
        REQUIRE(next_ <= starts_.size());
        return std::make_unique<trial>(first, random64());
    }
    std::vector<std::unique_ptr<trial>> make(std::size_t count)
    {
        std::vector<std::unique_ptr<trial>> some(count);
        std::ranges::generate(some, [this] { return make(); });
        return some;
    }

    void count(const trial& t)
    {
        completed += t.completed() ? 1 : 0;
        cut_short += t.over() && !t.completed() ? 1 : 0;
        dropped += t.over() ? 0 : 1;
    }

    std::uint64_t below(std::uint64_t n) { return random() % n; }
    std::uint64_t random64() { return std::uint64_t{random()} << 32 ^ random(); }

    std::mt19937 random;
    std::uint64_t cancels = 0, pools = 0, contexts = 0;
    std::uint64_t completed = 0, cut_short = 0, dropped = 0;

private:
    start_counts starts_{std::size_t{1} << 26}; // untouched pages cost nothing
    std::size_t next_ = 0;
};

void turn(asio::io_context& context, std::uint64_t steps)
{
    if (context.stopped())
        context.restart();
    for (; steps > 0; --steps)
        context.run_one_for(100us);
}

bool all_over(const std::vector<std::unique_ptr<trial>>& some)
{
    return std::ranges::all_of(some, [](const auto& t) { return t->over(); });
}

/// Some hundred calls in one pool, a few at a time, and each is cancelled after a few turns.
void cancel_some(trials& all)
{
    struct running {
        std::unique_ptr<trial> call;
        std::uint64_t turns; // until it is cancelled
        bool cancelled = false;
    };
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const auto pool = std::make_shared<cofork::pool>(context, two_workers);
    std::vector<running> live;
    for (unsigned left = 500; left > 0 || !live.empty();) {
        if (left > 0 && live.size() < 4) {
            live.push_back({all.make(), all.below(2) == 0 ? all.below(4) : all.below(40)});
            const bool in_pool = under_tsan || all.below(50) > 0;
            live.back().call->start(context.get_executor(), in_pool ? pool : nullptr);
            --left;
        }
        turn(context, all.below(3));
        for (running& each : live) {
            if (each.cancelled || each.call->over() || each.turns-- > 0)
                continue;
            each.cancelled = true;
            ++all.cancels;
            each.call->cancel();
        }
        std::erase_if(live, [&](const running& each) {
            if (each.call->over()) {
                each.call->judge(false);
                all.count(*each.call);
            }
            return each.call->over();
        });
    }
    test::still_works(context, *pool);
}

enum class way_out { destroyed, closed, drained, from_a_callback, count };

void destroy_pool(asio::io_context& context, trials& all)
{
    const auto way = static_cast<way_out>(all.below(static_cast<std::uint64_t>(way_out::count)));
    auto pool = std::make_shared<cofork::pool>(context, two_workers);
    const auto calls = all.make(1 + all.below(3));
    int drained = 0;
    for (const auto& each : calls) {
        const bool takes_it_along = way == way_out::from_a_callback && each == calls.front();
        each->start(context.get_executor(), pool,
            takes_it_along ? std::function<void()>{[&pool] { pool.reset(); }} : std::function<void()>{});
    }
    turn(context, all.below(2) == 0 ? all.below(6) : all.below(60));
    if (all.below(4) == 0)
        calls.back()->cancel();
    if (way == way_out::drained)
        pool->async_drain([&](std::error_code) { ++drained; });
    turn(context, all.below(3));
    if (way == way_out::closed)
        pool->close();
    if (way != way_out::from_a_callback)
        pool.reset();
    test::run_until(context, [&] { return all_over(calls) && (way != way_out::drained || drained > 0); });
    for (const auto& each : calls) {
        each->judge(true);
        all.count(*each);
    }
    CHECK(drained == (way == way_out::drained ? 1 : 0));
    ++all.pools;
}

/// The program has two threads, and closes the pool from a third, while calls begin, run and are cancelled.
void close_beside_threads(trials& all)
{
    asio::io_context context{2};
    auto options = two_workers;
    options.with_threads = true; // of the round before, one may still be listed
    const auto pool = std::make_shared<cofork::pool>(context, options);
    const auto calls = all.make(1 + all.below(4));
    std::latch over{static_cast<std::ptrdiff_t>(calls.size())};
    {
        auto work = asio::make_work_guard(context);
        std::array<std::thread, 2> threads;
        for (std::thread& each : threads)
            each = std::thread{[&] { context.run(); }};
        for (const auto& each : calls) {
            const auto strand = asio::make_strand(context);
            asio::post(strand, [&, strand] { each->start(strand, pool, [&] { over.count_down(); }); });
            spend(all.below(200'000));
            if (all.below(2) == 0)
                asio::post(strand, [&] { each->cancel(); });
        }
        spend(all.below(2'000'000));
        pool->close();
        over.wait(); // the watchdog ends a hang
        work.reset();
        for (std::thread& each : threads)
            each.join();
    }
    for (const auto& each : calls) {
        each->judge(true);
        all.count(*each);
    }
    ++all.pools;
}

void destroy_context(trials& all)
{
    const auto calls = all.make(1 + all.below(3));
    auto context = std::make_unique<asio::io_context>(1);
    std::shared_ptr<cofork::pool> pool;
    if (under_tsan || all.below(3) > 0)
        pool = std::make_shared<cofork::pool>(*context, two_workers);
    for (const auto& each : calls)
        each->start(context->get_executor(), pool);
    turn(*context, all.below(2) == 0 ? all.below(6) : all.below(60));
    if (all.below(4) == 0)
        calls.back()->cancel();
    if (all.below(2) == 0)
        pool.reset();
    context.reset();
    pool.reset();
    CHECK(trial::frames() == 0);
    for (const auto& each : calls) {
        each->judge_dropped();
        all.count(*each);
    }
    ++all.contexts;
}

void destroy_some_pools(trials& all)
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    for (int n = 0; n < 40; ++n)
        destroy_pool(context, all);
    for (int n = 0; n < 5; ++n)
        close_beside_threads(all);
}

void destroy_some_contexts(trials& all)
{
    const test::leaves_nothing nothing;
    for (int n = 0; n < 20; ++n)
        destroy_context(all);
}

/// A fork under a sanitizer takes that much longer.
constexpr double slower = test::forks_are_slow ? 10 : under_tsan ? 4 : 1;

} // namespace

void cancel_and_destroy(const settings& s)
{
    trials all{s.seed};
    const std::uint64_t cancels = s.amount(100'000 / slower, 100);
    const std::uint64_t pools = s.amount(10'000 / slower, 20);
    const std::uint64_t contexts = s.amount(1'000 / slower, 10);
    while (all.cancels < cancels)
        cancel_some(all);
    while (all.pools < pools)
        destroy_some_pools(all);
    while (all.contexts < contexts)
        destroy_some_contexts(all);
    demand(all.completed > 0 && all.cut_short > 0 && all.dropped > 0, "calls that end in each way");
    remark("cancels " + std::to_string(all.cancels));
    remark("pools " + std::to_string(all.pools));
    remark("contexts " + std::to_string(all.contexts));
    remark("completed " + std::to_string(all.completed) + ", cut short " + std::to_string(all.cut_short) + ", dropped "
        + std::to_string(all.dropped));
}

} // namespace soak
