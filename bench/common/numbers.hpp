#pragma once
// Rounds of a call over many trivial items.

#include "bench.h"

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace bench {

inline std::vector<int> numbers(long count)
{
    std::vector<int> items(static_cast<std::size_t>(count));
    std::iota(items.begin(), items.end(), 0);
    return items;
}

inline std::int64_t sum(const std::vector<int>& results)
{
    return std::accumulate(results.begin(), results.end(), std::int64_t{0});
}

/// `work(items)` returns the results; two rounds are not counted. `between` is called before each round, untimed.
template <typename Work, typename Between>
void time_rounds(int argc, char** argv, Work work, Between between)
{
    const std::vector<int> items = numbers(bench_number(argc, argv, "--items", 10'000));
    bench_series took{};
    std::int64_t check = 0;
    for (long round = -2; round < bench_number(argc, argv, "--rounds", 5); ++round) {
        between();
        const auto began = bench_now();
        const std::vector<int> results = work(items);
        const auto ended = bench_now();
        if (round >= 0)
            bench_add(&took, ended - began);
        check = sum(results);
    }
    bench_print("total_ns", &took, check);
}

template <typename Work>
void time_rounds(int argc, char** argv, Work work)
{
    time_rounds(argc, argv, work, [] {});
}

} // namespace bench
