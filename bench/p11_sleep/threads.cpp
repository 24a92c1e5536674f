// The seed's example by eight threads.

#include "../common/bench.h"
#include "../common/thread_pool.hpp"

#include <chrono>
#include <numeric>

int main(int argc, char** argv)
{
    const long pause = bench_number(argc, argv, "--sleep-ms", 1000);
    std::vector<int> results(10);
    const auto began = bench_now();
    bench::thread_pool pool{8};
    pool.for_each_index(10, 1, [&](std::size_t i) {
        std::this_thread::sleep_for(std::chrono::milliseconds{pause});
        results[i] = static_cast<int>(i) + 1;
    });
    bench_print_one("total_ns", bench_now() - began, std::accumulate(results.begin(), results.end(), 0));
}
