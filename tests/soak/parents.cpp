// S12: the program is killed at any moment, with pools in its workers and calls in theirs, and nothing survives it.

#include "checks.hpp"

#include "ledger.hpp"
#include "supervisor.hpp"

#include "../support/faults.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/stream.hpp>
#include <cofork/wait.hpp>

#include <asio/io_context.hpp>

#include <algorithm>
#include <csignal>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

namespace soak {

namespace {

/// From the program's death on.
constexpr std::uint64_t most_ns = (test::forks_are_slow ? 10u : 1u) * std::uint64_t{1'000'000'000};

constexpr std::uint64_t longest_life = (test::forks_are_slow ? 1000u : 120u) * std::uint64_t{1'000'000};

bool some_hang = false; ///< items that do not notice when their worker's pipes are closed: they have to be killed

int spins(int item)
{
    if (some_hang && item % 5 == 4)
        test::hang();
    spend(static_cast<std::uint64_t>(item % 7) * 500'000);
    return item;
}

/// A pool in a worker, and in one of three workers of that pool a call once more.
int nests(int item)
{
    asio::io_context context{1};
    cofork::pool inner{context, {.workers = 2}};
    const auto below = [](int i) {
        if (i % 3 == 0)
            return cofork::wait(cofork::parallel(spins, std::vector<int>{i, i + 1}, {.workers = 2})).at(0);
        return spins(i);
    };
    const std::vector<int> items{item, item + 1, item + 2, item + 3};
    return cofork::wait(cofork::parallel(inner, below, items)).at(0);
}

/// Calls without end, in a pool or without one, until it is killed.
[[noreturn]] void program(bool in_pool, bool with_hanging_items)
{
    some_hang = with_hanging_items;
    for (;;) {
        const std::vector<int> items = test::numbers(40);
        asio::io_context context{1};
        if (in_pool) {
            cofork::pool pool{context, {.workers = 2}};
            test::run(context, cofork::parallel(pool, nests, items));
        }
        else
            test::run(context, cofork::parallel(nests, items, {.workers = 2}));
    }
}

/// How many processes there are below `pid`, itself included.
std::size_t size_of_family(pid_t pid)
{
    std::vector<pid_t> all{pid};
    for (std::size_t i = 0; i < all.size(); ++i)
        std::ranges::copy(test::children_of(all[i]), std::back_inserter(all));
    return all.size();
}

struct toll {
    std::size_t largest_family = 0;
    std::uint64_t nested = 0; ///< deaths with processes of at least two levels below
    std::uint64_t slowest = 0;
};

void kill_one(std::uint64_t random, toll& all)
{
    test::helper_process victim{[random] { program(random % 2 == 0, random / 2 % 2 == 0); }};
    const std::uint64_t life = (random >> 8) % longest_life;
    const timespec moment{0, static_cast<long>(life)};
    ::nanosleep(&moment, nullptr);
    const std::size_t family = size_of_family(victim.pid());
    all.largest_family = std::max(all.largest_family, family);
    all.nested += family > 6 ? 1 : 0; // itself, nursery, two workers: what is more belongs to the workers
    const std::uint64_t began = clock_ns();
    victim.end();
    // Orphans come to us, who are their subreaper, and so do theirs: where we have no child, nobody is left.
    const bool gone = test::eventually([] {
        while (::waitpid(-1, nullptr, WNOHANG) > 0)
            ;
        return test::children().empty();
    }, std::chrono::milliseconds{most_ns / 1'000'000});
    all.slowest = std::max(all.slowest, clock_ns() - began);
    if (gone)
        return;
    ++now->lost;
    for (const pid_t pid : test::children()) {
        complain("process " + std::to_string(pid) + " (" + test::text_of("/proc/" + std::to_string(pid) + "/comm")
            + ") has survived a program killed after " + std::to_string(life / 1'000'000) + " ms");
    }
    end_all_children();
}

} // namespace

void parent_death(const settings& s)
{
    const test::leaves_nothing nothing;
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    toll all;
    for (std::uint64_t n = s.amount(500, 10); n > 0; --n) {
        kill_one(mix(s.seed, n), all);
        ++now->items;
        ++now->kills;
        beat();
    }
    demand(all.nested > 0, "deaths with pools in workers");
    remark("with nested pools " + std::to_string(all.nested));
    remark("largest family " + std::to_string(all.largest_family));
    remark("all gone within " + std::to_string(all.slowest / 1'000'000) + " ms");
}

} // namespace soak
