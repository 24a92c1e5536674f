// S1 and S2: workers are killed at any moment, faster than they can be made in the end.

#include "checks.hpp"

#include "crew_table.hpp"
#include "killer.hpp"
#include "ledger.hpp"
#include "own_writes.hpp"

#include "../support/faults.hpp"

#include <cofork/stream.hpp>

#include <algorithm>
#include <csignal>
#include <memory>

namespace soak {

namespace {

using namespace std::chrono_literals;

/// One call in a storm, and what it is made of.
struct gust {
    std::size_t items = 0;
    std::uint64_t median_cost = 0; // ns
    bool large_results = false;
    bool in_pool = true;
    unsigned attempts = 1;
    cofork::order delivery = cofork::order::finished;
    killing how{};
};

/// Sizes at which a reply takes another way: through the page, straight to the pipe, in several reads.
std::uint64_t size_of_result(std::uint64_t random)
{
    switch (random % 20) {
    case 0: return 200'000;
    case 1: return 65'390 + (random >> 8) % 40; // with its header, about as long as the page's buffer
    case 2: return 65'511 + (random >> 8) % 3;
    case 3: return 4'071 + (random >> 8) % 3;
    case 4: return 4'060 + (random >> 8) % 40;
    default: return (random >> 8) % 65;
    }
}

std::vector<item> make_items(const gust& g)
{
    std::vector<item> items(g.items);
    for (std::size_t i = 0; i < items.size(); ++i) {
        const std::uint64_t random = mix(g.how.seed, i);
        items[i] = {i, random, lognormal(g.median_cost, mix(random, 1)), 0, 0};
        items[i].size = g.large_results ? size_of_result(mix(random, 2)) : random % 65;
    }
    return items;
}

std::string enlist_and_work(const item& i)
{
    enlist();
    return work(i);
}

std::uint64_t finished_in_vain = 0; // of one gust

/// Also counts what f had begun and finished in the worker that was killed: between its end and its reply in the page lies a
/// microsecond, in which few are killed. A reply that does not fit there is written, and that takes longer.
bool killed(const item& i, const cofork::failure& why)
{
    const entry& e = (*books)[i.index];
    finished_in_vain += i.size <= 4'096 && e.pid == why.pid && e.finishes == e.starts ? 1 : 0;
    return why.kind == cofork::failure_kind::crashed && why.signal == SIGKILL;
}

void blow(const gust& g)
{
    const test::leaves_nothing nothing;
    const keep_crew crew_is_known;
    const std::vector<item> items = make_items(g);
    const ledger starts{items.size()};
    const keep_books open{starts};
    const std::uint64_t kills_before = now->kills;
    finished_in_vain = 0;
    audit outcomes{items, starts, g.attempts, killed};
    if (g.delivery == cofork::order::given)
        outcomes.ignore_gaps();

    asio::io_context context{1};
    const cofork::options options{.workers = 3, .delivery = g.delivery, .attempts = g.attempts};
    test::helper_process killer{[&] { kill_at_random(::getppid(), g.how); }};
    std::unique_ptr<cofork::pool> pool;
    if (g.in_pool)
        pool = std::make_unique<cofork::pool>(context, cofork::pool_options{.workers = 3});
    {
        auto results = pool ? cofork::stream(*pool, enlist_and_work, items, options)
                            : cofork::stream(context.get_executor(), enlist_and_work, items, options);
        test::run(context, outcomes.drain(results), 24h); // the watchdog ends a hang
    }
    killer.end();
    outcomes.close();
    // One item for each kill, and for a nursery as many as it had workers.
    const std::uint64_t most = (now->kills - kills_before) * (g.how.nursery_every != 0 ? 3 : 1);
    demand(outcomes.failures() <= most, "more items failed than workers were killed");
    demand(finished_in_vain <= most / 10 + 5,
        "results that were finished are not lost; lost were " + std::to_string(finished_in_vain));
    if (pool)
        test::still_works(context, *pool);
}

/// Under AddressSanitizer a worker takes longer to begin than it has to live.
constexpr std::uint64_t slowness = test::forks_are_slow ? 8 : 1;

} // namespace

void kill_storm(const settings& s)
{
    const std::uint64_t kills = s.amount(10'000 / static_cast<double>(slowness), 5);
    const std::uint64_t torn = s.amount(1'000 / static_cast<double>(slowness));
    const std::uint64_t items = s.amount(1'000'000 / static_cast<double>(slowness));
    const std::size_t each = std::clamp<std::size_t>(items / 16, 2'000, 50'000);
    for (std::uint64_t n = 0; n < 4 || now->items < items || now->kills < kills || now->torn < torn; ++n) {
        gust g;
        g.items = each;
        g.median_cost = 50'000;
        g.large_results = true;
        g.in_pool = n % 2 == 0;
        g.attempts = n / 2 % 2 == 0 ? 1 : 50;
        g.delivery = n % 5 == 4 ? cofork::order::given : cofork::order::finished;
        g.how = {mix(s.seed, n), 5'000'000 * slowness, n % 4 == 3 ? 20u : 0u, true, {}};
        blow(g);
    }
    demand(now->kills >= kills, "kills >= " + std::to_string(kills));
    demand(now->torn >= torn, "torn frames >= " + std::to_string(torn));
}

void faster_than_spawn(const settings& s)
{
    const std::uint64_t items = s.amount(100'000 / static_cast<double>(slowness));
    const std::size_t each = std::clamp<std::size_t>(items / 8, 500, 12'500);
    for (std::uint64_t n = 0; n < 2 || now->items < items; ++n) {
        gust g;
        g.items = each;
        g.median_cost = 10'000;
        g.in_pool = n % 2 == 0;
        g.attempts = n / 2 % 2 == 0 ? 1 : 1000;
        g.how = {mix(s.seed, n), 1'000'000 * slowness, 0, false, {}};
        blow(g);
    }
    demand(now->kills > 0, "kills");
}

} // namespace soak
