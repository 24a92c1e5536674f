// The seed's example: ten sleeps on eight workers, from nothing.

#include "../common/on_loop.hpp"

#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

int main(int argc, char** argv)
{
    const long pause = bench_number(argc, argv, "--sleep-ms", 1000);
    std::vector<int> items(10);
    std::iota(items.begin(), items.end(), 0);
    const auto slowly = [pause](int x) {
        std::this_thread::sleep_for(std::chrono::milliseconds{pause});
        return x + 1;
    };
    const auto began = bench_now();
    const std::vector<int> results = cofork::wait(cofork::parallel(slowly, items, {.workers = 8}));
    bench_print_one("total_ns", bench_now() - began, std::accumulate(results.begin(), results.end(), 0));
}
