// Trivial items by parallel() in a warm pool. `--chunk`: options::chunk, 0 = as cofork chooses.

#include "../common/numbers.hpp"
#include "../common/on_loop.hpp"

static int add_one(int x)
{
    return x + 1;
}

static asio::awaitable<void> one_round(
    cofork::pool& pool, const std::vector<int>& items, std::size_t chunk, std::vector<int>& results)
{
    results = co_await cofork::parallel(pool, add_one, items, cofork::options{.chunk = chunk});
}

int main(int argc, char** argv)
{
    asio::io_context loop;
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 2));
    const auto chunk = static_cast<std::size_t>(bench_number(argc, argv, "--chunk", 0));
    cofork::pool pool{loop, {.workers = workers, .min_workers = workers}};
    bench::time_rounds(argc, argv, [&](const std::vector<int>& items) {
        std::vector<int> results;
        bench::on_loop(loop, one_round(pool, items, chunk, results));
        return results;
    });
    bench_print_one("rss_kib", bench_proc_field("/proc/self/status", "VmRSS"), 0);
}
