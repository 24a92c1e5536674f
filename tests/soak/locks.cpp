// S11: threads of the program hold libc's locks at every fork. A pool that was made before them has workers that know
// nothing of it; a fork of the moment has workers that hang, and then their items have timeouts.

#include "checks.hpp"

#include "ledger.hpp"

#include "../support/faults.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/stream.hpp>
#include <cofork/transport.hpp>

#include <asio/io_context.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <vector>

#include <syslog.h>

namespace soak {

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

// Whoever waits so long waits for a lock.
constexpr auto stuck = 10s;
constexpr auto soon = test::forks_are_slow ? 1000ms : 200ms;

/// Each of these takes a lock of libc, or of malloc, and holds it for most of its time.
void take_locks()
{
    const std::time_t t = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&t, &local);
    ::setenv("SOAK_HAMMER", t % 2 == 0 ? "even" : "odd", 1); // it exists: environ stays where it is, for getenv's sake
    ::openlog("soak", LOG_NDELAY, LOG_USER);                 // the lock of syslog(3), and no line in anybody's log
    ::closelog();
    std::vector<std::vector<char>> blocks(20);
    for (std::size_t i = 0; i < blocks.size(); ++i)
        blocks[i].resize(i * 500 + 1);
}

class hammers {
public:
    hammers()
    {
        for (std::thread& each : threads_)
            each = std::thread{[this] {
                while (!over_)
                    take_locks();
            }};
    }
    ~hammers()
    {
        over_ = true;
        for (std::thread& each : threads_)
            each.join();
    }
    hammers(const hammers&) = delete;
    hammers& operator=(const hammers&) = delete;

private:
    std::atomic<bool> over_{false};
    std::array<std::thread, 4> threads_;
};

std::string work_with_locks(const item& i)
{
    note_start(i);
    take_locks();
    std::string result = result_of(i);
    note_finish(i);
    return result;
}

/// A new worker for each item, out of a pool that is older than the threads.
void early_pool(asio::io_context& context, cofork::pool& pool, std::uint64_t seed, const ledger& starts)
{
    std::vector<item> items(starts.size());
    for (std::size_t i = 0; i < items.size(); ++i)
        items[i] = {i, mix(seed, i), 0, mix(seed, i) % 500, 0};
    audit outcomes{items, starts, 1, [](const item&, const cofork::failure&) { return false; }};
    auto results = cofork::stream(pool, work_with_locks, items, {.timeout = stuck, .delivery = cofork::order::finished});
    test::run(context, outcomes.drain(results), 24h); // the watchdog ends a hang
    outcomes.close();
}

/// Forks of the moment, which options::with_threads allows: a worker that is stuck costs its item, and no more. As many
/// as `least`, and more until one was stuck: that is chance, and with only a few forks it may not come.
std::uint64_t late_forks(asio::io_context& context, std::uint64_t least)
{
    std::uint64_t stuck_ones = 0;
    const auto f = [](int x) {
        take_locks();
        return 2 * x;
    };
    for (std::uint64_t i = 0; i < least || (stuck_ones == 0 && i < 100 * least); ++i) {
        const std::vector<int> items{1, 2};
        const cofork::options options{.workers = 2, .timeout = soon, .with_threads = true};
        const auto outcomes = test::run(context, cofork::try_parallel(f, items, options));
        for (const auto& o : outcomes) {
            beat();
            ++now->items;
            if (!o && o.error().kind == failure_kind::timeout)
                ++stuck_ones;
            else if (!o || *o != 2 * items[static_cast<std::size_t>(&o - outcomes.data())]) {
                ++now->wrong;
                complain("a fork with threads: " + (o ? "a wrong value" : describe(o.error())));
            }
        }
    }
    return stuck_ones;
}

} // namespace

void threads_beside(const settings& s)
{
    const test::leaves_nothing nothing;
    ::setenv("SOAK_HAMMER", "odd", 1);
    const std::size_t spawns = s.amount(2'000, 50);
    asio::io_context context{1};
    (void)cofork::transport(context.get_executor()); // reads the environment, which getenv(3) wants to stand still
    const ledger starts{spawns};
    const keep_books open{starts};
    cofork::pool pool{context, {.workers = 2, .fresh = true}};
    std::uint64_t stuck_ones = 0;
    {
        const hammers beside;
        early_pool(context, pool, s.seed, starts);
        demand(pool.stats().spawned >= spawns, std::to_string(spawns) + " spawns");
        stuck_ones = late_forks(context, s.amount(100, 15));
    }
    demand(stuck_ones > 0, "forks of the moment get stuck: else the threads hold no locks");
    remark("spawned " + std::to_string(pool.stats().spawned));
    remark("stuck in forks of the moment, all ended: " + std::to_string(stuck_ones));
}

} // namespace soak
