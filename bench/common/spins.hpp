#pragma once
// Rounds of a call over items that take processor time: see spin.h.

#include "bench.h"
#include "spin.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace bench {

/// What a task says of itself: its result, who ran it, and when it was over.
struct spun {
    std::uint64_t value;
    std::int64_t ended;
    std::int64_t worker;
};

inline spun spin(std::uint64_t turns, std::int64_t worker)
{
    const std::uint64_t value = spin_turns(turns);
    return {value, bench_now(), worker};
}

inline std::vector<std::uint64_t> spin_items(int argc, char** argv)
{
    const long count = bench_number(argc, argv, "--items", 1000);
    std::vector<std::uint64_t> turns(static_cast<std::size_t>(count));
    spin_sizes(bench_word(argc, argv, "--sizes", "equal"), static_cast<double>(bench_number(argc, argv, "--mean", 1000)),
        count, turns.data());
    return turns;
}

/// How long before the last worker the first one was out of work.
inline std::int64_t spread(const std::vector<spun>& results)
{
    std::map<std::int64_t, std::int64_t> last;
    for (const spun& r : results)
        last[r.worker] = last[r.worker] < r.ended ? r.ended : last[r.worker];
    std::int64_t first_out = INT64_MAX, last_out = 0;
    for (const auto& [worker, ended] : last) {
        first_out = ended < first_out ? ended : first_out;
        last_out = ended > last_out ? ended : last_out;
    }
    return last_out - first_out;
}

/// `work(items)` returns the results; one round is not counted.
template <typename Work>
void time_spins(int argc, char** argv, Work work)
{
    const std::vector<std::uint64_t> items = spin_items(argc, argv);
    bench_series took{}, spreads{};
    std::uint64_t check = 0;
    for (long round = -1; round < bench_number(argc, argv, "--rounds", 3); ++round) {
        const auto began = bench_now();
        const std::vector<spun> results = work(items);
        const auto ended = bench_now();
        if (round >= 0) {
            bench_add(&took, ended - began);
            bench_add(&spreads, spread(results));
        }
        check = 0;
        for (const spun& r : results)
            check += r.value;
    }
    bench_print("total_ns", &took, static_cast<std::int64_t>(check & INT64_MAX));
    bench_print("spread_ns", &spreads, 0);
}

} // namespace bench
