// Workers that are killed from outside at any moment: nothing is lost, nothing comes twice, nothing is wrong.

#include "support/faults.hpp"

#include <cofork/stream.hpp>

#include <atomic>
#include <cstdint>
#include <random>

namespace {

using namespace std::chrono_literals;

constexpr int items = test::forks_are_slow ? 1'500 : 8'000;
/// Between two kills, at least, and four times that at most. A worker that is killed while it starts does nothing.
constexpr long interval_ns = test::forks_are_slow ? 20'000'000 : 1'000'000;
constexpr int many_kills = test::forks_are_slow ? 5 : 20;

/// Sizes around those at which a reply takes another way: through the page, straight to the pipe, in several reads.
std::size_t size_of_result(int item)
{
    const auto x = static_cast<std::uint32_t>(item) * 2654435761u >> 8;
    switch (x % 32) {
    case 0:
        return 200'000;
    case 1:
        return 65'500 + x / 32 % 40;
    case 2:
        return 65'390 + x / 32 % 40; // with its header, as long as the page's buffer
    case 3:
    case 4:
        return 4'060 + x / 32 % 40;
    default:
        return x / 32 % 65;
    }
}

std::string result_of(int item)
{
    std::string text(size_of_result(item), '\0');
    for (std::size_t i = 0; i < text.size(); ++i)
        text[i] = static_cast<char>(static_cast<std::size_t>(item) + i / 7);
    return text;
}

std::string work(int item)
{
    const auto end = std::chrono::steady_clock::now() + (test::forks_are_slow ? 200us : 20us);
    while (std::chrono::steady_clock::now() < end)
        ;
    return result_of(item);
}

struct toll {
    std::atomic<int> workers;
    std::atomic<int> nurseries;
};

/// Kills a random worker of the process `target` again and again, and now and then its nursery.
[[noreturn]] void kill_at_random(pid_t target, toll& killed, int nursery_every)
{
    std::minstd_rand random{42};
    for (int round = 1;; ++round) {
        const timespec moment{0, interval_ns + static_cast<long>(random()) % (3 * interval_ns)};
        ::nanosleep(&moment, nullptr);
        const bool nursery = nursery_every != 0 && round % nursery_every == 0;
        const auto found = nursery ? test::nurseries(target) : test::workers(target);
        if (found.empty())
            continue;
        if (::kill(found[random() % found.size()], SIGKILL) == 0)
            ++(nursery ? killed.nurseries : killed.workers);
    }
}

struct tally {
    int values = 0;
    int crashed = 0;
    int twice = 0;
    int wrong = 0;
    std::chrono::nanoseconds longest_gap{0};
};

asio::awaitable<tally> count(cofork::result_stream<std::string>& results)
{
    tally sum;
    std::vector<bool> seen(items);
    auto last = std::chrono::steady_clock::now();
    for (;;) {
        const auto next = co_await results.next();
        const auto now = std::chrono::steady_clock::now();
        sum.longest_gap = std::max<std::chrono::nanoseconds>(sum.longest_gap, now - last);
        last = now;
        if (!next)
            break;
        sum.twice += seen.at(next->index) ? 1 : 0;
        seen[next->index] = true;
        if (next->outcome)
            ++(*next->outcome == result_of(static_cast<int>(next->index)) ? sum.values : sum.wrong);
        else
            ++(next->outcome.error().kind == cofork::failure_kind::crashed && next->outcome.error().signal == SIGKILL
                    ? sum.crashed
                    : sum.wrong);
    }
    co_return sum;
}

tally storm(bool in_pool, unsigned attempts, int nursery_every, toll& killed)
{
    asio::io_context context{1};
    const cofork::options options{.workers = 3, .delivery = cofork::order::finished, .attempts = attempts};
    const std::vector<int> numbers = test::numbers(items);
    test::helper_process killer{[&] { kill_at_random(::getppid(), killed, nursery_every); }};
    if (!in_pool) {
        auto results = cofork::stream(context.get_executor(), work, numbers, options);
        return test::run(context, count(results), 100s);
    }
    cofork::pool pool{context, {.workers = 3}};
    tally sum;
    {
        auto results = cofork::stream(pool, work, numbers, options);
        sum = test::run(context, count(results), 100s);
    }
    killer.end(); // what follows has one attempt for each item
    test::still_works(context, pool);
    return sum;
}

} // namespace

TEST_CASE("a storm of killed workers loses nothing and repeats nothing", "[fault][A6][F94]")
{
    const test::leaves_nothing nothing;
    const test::shared<toll> killed;
    const bool in_pool = GENERATE(true, false);
    CAPTURE(in_pool);

    const tally sum = storm(in_pool, 1, 0, *killed);

    INFO("killed " << killed->workers << ", longest gap " << sum.longest_gap.count() / 1'000'000 << " ms");
    CHECK(sum.values + sum.crashed == items);
    CHECK(sum.twice == 0);
    CHECK(sum.wrong == 0);
    CHECK(killed->workers > many_kills);
    CHECK(sum.crashed > 0);
    CHECK(sum.crashed <= killed->workers); // at most one item for each
}

TEST_CASE("with attempts enough every item of a storm has its value", "[fault][A6][F94]")
{
    const test::leaves_nothing nothing;
    const test::shared<toll> killed;
    const bool in_pool = GENERATE(true, false);
    CAPTURE(in_pool);

    const tally sum = storm(in_pool, 50, 0, *killed);

    INFO("killed " << killed->workers << ", longest gap " << sum.longest_gap.count() / 1'000'000 << " ms");
    CHECK(sum.values == items);
    CHECK(sum.twice == 0);
    CHECK(killed->workers > many_kills);
}

TEST_CASE("a storm that also kills nurseries loses nothing and repeats nothing", "[fault][nursery]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const test::shared<toll> killed;
    const bool in_pool = GENERATE(true, false);
    const unsigned attempts = GENERATE(1u, 50u);
    CAPTURE(in_pool, attempts);

    const tally sum = storm(in_pool, attempts, 10, *killed);

    INFO("killed " << killed->workers << ", nurseries " << killed->nurseries << ", longest gap "
                   << sum.longest_gap.count() / 1'000'000 << " ms");
    CHECK(sum.values + sum.crashed == items);
    CHECK(sum.twice == 0);
    CHECK(sum.wrong == 0);
    CHECK(killed->nurseries > many_kills / 20);
    if (attempts > 1)
        CHECK(sum.crashed == 0);
}
