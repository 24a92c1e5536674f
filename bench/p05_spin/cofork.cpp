// Items of processor time by parallel() in a warm pool.

#include "../common/on_loop.hpp"
#include "../common/spins.hpp"

static bench::spun spin_here(std::uint64_t turns)
{
    return bench::spin(turns, getpid());
}

static asio::awaitable<void> one_round(
    cofork::pool& pool, const std::vector<std::uint64_t>& items, std::vector<bench::spun>& results)
{
    results = co_await cofork::parallel(pool, spin_here, items);
}

int main(int argc, char** argv)
{
    asio::io_context loop;
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 2));
    cofork::pool pool{loop, {.workers = workers, .min_workers = workers}};
    bench::time_spins(argc, argv, [&](const std::vector<std::uint64_t>& items) {
        std::vector<bench::spun> results;
        bench::on_loop(loop, one_round(pool, items, results));
        return results;
    });
}
