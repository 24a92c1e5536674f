// Items of processor time by a std::thread pool with a queue.

#include "../common/spins.hpp"
#include "../common/thread_pool.hpp"

#include <functional>

int main(int argc, char** argv)
{
    bench::thread_pool pool{static_cast<unsigned>(bench_number(argc, argv, "--workers", 2))};
    bench::time_spins(argc, argv, [&](const std::vector<std::uint64_t>& items) {
        std::vector<bench::spun> results(items.size());
        pool.for_each_index(items.size(), 1, [&](std::size_t i) { results[i] = bench::spin(items[i], gettid()); });
        return results;
    });
}
