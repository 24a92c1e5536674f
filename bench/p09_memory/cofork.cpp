// Memory of workers that have done some items and are idle, beside that of bare forks of the same process; and the
// parent's own.

#include "../common/idle_forks.hpp"
#include "../common/on_loop.hpp"

#include <chrono>
#include <set>
#include <thread>
#include <vector>

static int who(int)
{
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
    return ::getpid();
}

static asio::awaitable<void> meet_all(cofork::pool& pool, std::size_t workers, std::set<int>& pids)
{
    for (int again = 0; again < 100 && pids.size() < workers; ++again) {
        const auto seen = co_await cofork::parallel(pool, who, std::vector<int>(2 * workers), cofork::options{.chunk = 1});
        pids.insert(seen.begin(), seen.end());
    }
}

static long own_memory_kib()
{
    return bench_proc_field("/proc/self/status", "RssAnon") + bench_proc_field("/proc/self/status", "RssShmem");
}

int main(int argc, char** argv)
{
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 16));
    asio::io_context loop;
    bench_series forked{}, idle{};
    {
        const bench::idle_forks forks{workers};
        for (const pid_t pid : forks.pids())
            bench_add(&forked, bench_uss_kib(pid));
    }
    cofork::pool pool{loop, {.workers = workers, .min_workers = workers}};
    std::set<int> pids;
    bench::on_loop(loop, meet_all(pool, workers, pids));
    for (const int pid : pids)
        bench_add(&idle, bench_uss_kib(pid));
    bench_print("fork_uss_kib", &forked, 0);
    bench_print("worker_uss_kib", &idle, static_cast<std::int64_t>(pids.size()));
    bench_print_one("parent_kib", own_memory_kib(), 0);
}
