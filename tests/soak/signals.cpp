// S3: signals of all kinds reach workers at any moment, and some of them stay stopped.

#include "checks.hpp"

#include "crew_table.hpp"
#include "killer.hpp"
#include "ledger.hpp"
#include "own_writes.hpp"

#include "../support/faults.hpp"

#include <cofork/stream.hpp>

#include <algorithm>
#include <csignal>

namespace soak {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::nanoseconds time_limit = test::forks_are_slow ? 400ms : 100ms;
constexpr std::uint64_t longest_item = 45'000'000; // ns; whoever takes 50 ms is in time

std::string enlist_and_wait(const item& i)
{
    enlist();
    note_start(i);
    const timespec most{0, static_cast<long>(i.cost)};
    ::nanosleep(&most, nullptr);
    std::string result = result_of(i);
    note_finish(i);
    return result;
}

std::vector<item> items_to_signal(std::uint64_t seed, std::size_t count)
{
    std::vector<item> items(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t random = mix(seed, i);
        items[i] = {i, random, std::min(lognormal(700'000, random), longest_item), mix(random, 1) % 5000, 0};
        if (random % 50 == 0)
            items[i].cost = longest_item / 2 + mix(random, 2) % (longest_item / 2);
    }
    return items;
}

/// A timeout only where the worker was stopped, or was not let run for so long by a busy machine: f had begun, and not ended.
/// A crash only by a signal that was sent.
bool by_a_signal(const ledger& starts, const item& i, const cofork::failure& why)
{
    if (why.kind == cofork::failure_kind::timeout) {
        const entry& known = starts[i.index];
        const bool stopped = why.pid != 0 && crew->of(why.pid).stopped == why.pid;
        const bool starved = known.starts > known.finishes && clock_ns() - known.began >= static_cast<std::uint64_t>(time_limit.count());
        if (!stopped && !starved)
            complain("a timeout that is none: item " + std::to_string(i.index) + " takes "
                + std::to_string(i.cost / 1'000'000) + " ms, and nobody has stopped " + std::to_string(why.pid));
        return stopped || starved;
    }
    return why.kind == cofork::failure_kind::crashed
        && (why.signal == SIGKILL || why.signal == SIGSEGV || why.signal == SIGTERM || why.signal == SIGXCPU);
}

void call(std::uint64_t seed, std::size_t count, bool in_pool, unsigned attempts)
{
    const test::leaves_nothing nothing;
    const keep_crew crew_is_known;
    const std::vector<item> items = items_to_signal(seed, count);
    const ledger starts{items.size()};
    const keep_books open{starts};
    audit outcomes{items, starts, attempts,
        [&](const item& i, const cofork::failure& why) { return by_a_signal(starts, i, why); }};
    if (attempts > 1)
        outcomes.ignore_gaps(); // the last items draw all signals, and may need many attempts

    const killing how{seed, 10'000'000, 0, false, {SIGSTOP, SIGCONT, SIGSEGV, SIGTERM, SIGKILL, SIGXCPU}};
    test::helper_process killer{[&] { kill_at_random(::getppid(), how); }};
    asio::io_context context{1};
    const cofork::options options{
        .workers = 4, .timeout = time_limit, .delivery = cofork::order::finished, .attempts = attempts};
    std::optional<cofork::pool> pool;
    if (in_pool)
        pool.emplace(context, cofork::pool_options{.workers = 4});
    {
        auto results = pool ? cofork::stream(*pool, enlist_and_wait, items, options)
                            : cofork::stream(context.get_executor(), enlist_and_wait, items, options);
        test::run(context, outcomes.drain(results), 24h); // the watchdog ends a hang
    }
    killer.end();
    outcomes.close();
    if (attempts > 1)
        demand(outcomes.failures() == 0, "with attempts enough every item has its value");
}

} // namespace

void random_signals(const settings& s)
{
    const std::uint64_t items = s.amount(100'000, 1'000);
    const std::size_t each = std::clamp<std::size_t>(items / 8, 500, 5'000);
    for (std::uint64_t n = 0; n < 2 || now->items < items; ++n)
        call(mix(s.seed, n), each, n % 2 == 0, n / 2 % 2 == 0 ? 1 : 1000);
}

} // namespace soak
