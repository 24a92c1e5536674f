// Items of processor time by oneTBB's parallel_for.

#include "../common/spins.hpp"

#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

int main(int argc, char** argv)
{
    const auto workers = static_cast<std::size_t>(bench_number(argc, argv, "--workers", 2));
    const tbb::global_control limit{tbb::global_control::max_allowed_parallelism, workers};
    bench::time_spins(argc, argv, [](const std::vector<std::uint64_t>& items) {
        std::vector<bench::spun> results(items.size());
        tbb::parallel_for(std::size_t{0}, items.size(), [&](std::size_t i) { results[i] = bench::spin(items[i], gettid()); });
        return results;
    });
}
