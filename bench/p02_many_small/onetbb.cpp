// Trivial items by oneTBB's parallel_for.

#include "../common/numbers.hpp"

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

[[gnu::noinline]] static int add_one(int x)
{
    return x + 1;
}

int main(int argc, char** argv)
{
    const auto workers = static_cast<std::size_t>(bench_number(argc, argv, "--workers", 2));
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, workers};
    bench::time_rounds(argc, argv, [](const std::vector<int>& items) {
        std::vector<int> results(items.size());
        tbb::parallel_for(std::size_t{0}, items.size(), [&](std::size_t i) { results[i] = add_one(items[i]); });
        return results;
    });
}
