// Many trivial items by stream() in a warm pool: a lazy range, results one by one, nothing kept.

#include "../common/numbers.hpp"
#include "../common/on_loop.hpp"

#include <ranges>

static int add_one(int x)
{
    return x + 1;
}

static asio::awaitable<void> one_round(cofork::pool& pool, int count, std::int64_t& sum)
{
    auto results = cofork::stream(pool, add_one, std::views::iota(0, count));
    while (auto r = co_await results.next())
        sum += *r->outcome;
}

int main(int argc, char** argv)
{
    asio::io_context loop;
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 2));
    const auto count = static_cast<int>(bench_number(argc, argv, "--items", 1'000'000));
    cofork::pool pool{loop, {.workers = workers, .min_workers = workers}};
    bench_series took{}, memory{};
    std::int64_t sum = 0;
    for (long round = -1; round < bench_number(argc, argv, "--rounds", 5); ++round) {
        sum = 0;
        const auto began = bench_now();
        bench::on_loop(loop, one_round(pool, count, sum));
        if (round >= 0)
            bench_add(&took, bench_now() - began);
        bench_add(&memory, bench_proc_field("/proc/self/status", "VmHWM"));
    }
    bench_print("total_ns", &took, sum);
    bench_print("peak_kib", &memory, 0);
}
