// Many trivial items by parallel() in a warm pool, and the parent's memory round by round.

#include "../common/numbers.hpp"
#include "../common/on_loop.hpp"

static int add_one(int x)
{
    return x + 1;
}

static asio::awaitable<void> one_round(cofork::pool& pool, const std::vector<int>& items, std::vector<int>& results)
{
    results = co_await cofork::parallel(pool, add_one, items);
}

int main(int argc, char** argv)
{
    asio::io_context loop;
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 2));
    cofork::pool pool{loop, {.workers = workers, .min_workers = workers}};
    bench_series memory{};
    bench_add(&memory, bench_proc_field("/proc/self/status", "VmHWM")); // before there are items
    bench::time_rounds(argc, argv, [&](const std::vector<int>& items) {
        std::vector<int> results;
        bench::on_loop(loop, one_round(pool, items, results));
        bench_add(&memory, bench_proc_field("/proc/self/status", "VmHWM"));
        return results;
    });
    bench_print("peak_kib", &memory, 0);
}
