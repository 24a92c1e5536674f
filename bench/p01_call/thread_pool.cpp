// One warm call of a thread: a queue with one thread, and a wait for the answer.

#include "../common/bench.h"
#include "../common/thread_pool.hpp"

int main(int argc, char** argv)
{
    const auto place = bench_placement(argc, argv);
    const long calls = bench_number(argc, argv, "--calls", 2000);
    bench_go(place.caller);
    bench::thread_pool pool{1};
    pool.post([&] { bench_go(place.worker); });
    pool.wait();
    bench_series took{};
    std::int64_t sum = 0;
    for (long i = -calls / 10; i < calls; ++i) {
        std::int64_t y = 0;
        const auto began = bench_now();
        pool.post([i, &y] { y = i + 1; });
        pool.wait();
        if (i >= 0) {
            bench_add(&took, bench_now() - began);
            sum += y;
        }
    }
    bench_print("call_ns", &took, sum);
}
