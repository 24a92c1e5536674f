// Trivial items from nothing: snapshot, fork, run, reap. Beside each call one bare fork and wait of the same process.

#include "../common/numbers.hpp"
#include "../common/on_loop.hpp"

static int add_one(int x)
{
    return x + 1;
}

static asio::awaitable<void> one_round(const std::vector<int>& items, unsigned workers, std::vector<int>& results)
{
    results = co_await cofork::parallel(add_one, items, cofork::options{.workers = workers});
}

int main(int argc, char** argv)
{
    asio::io_context loop;
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 2));
    bench_series fork_took{};
    const auto work = [&](const std::vector<int>& items) {
        std::vector<int> results;
        bench::on_loop(loop, one_round(items, workers, results));
        return results;
    };
    bench::time_rounds(argc, argv, work, [&] { bench_add(&fork_took, bench_fork_and_wait()); });
    bench_print("fork_ns", &fork_took, 0);
}
