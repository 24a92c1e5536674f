// How long the caller's loop stands still when 8 workers of a pool start, when one is replaced, and when a snapshot with 8
// workers is made; `--ballast` MiB of small pages in the caller. Beside each how long it does when the caller forks by itself, and
// when nothing happens.

#include "../common/on_loop.hpp"
#include "stall_meter.hpp"

#include <asio/detached.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <csignal>
#include <list>
#include <sys/mman.h>
#include <sys/wait.h>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

static int hold(int x)
{
    std::this_thread::sleep_for(50ms);
    return x;
}

static int die(int x)
{
    std::raise(SIGKILL);
    return x;
}

static void load_ballast(std::size_t bytes)
{
    if (bytes == 0)
        return;
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        bench_fail("mmap");
    ::madvise(memory, bytes, MADV_NOHUGEPAGE);
    for (std::size_t i = 0; i < bytes; i += 4096)
        static_cast<volatile char*>(memory)[i] = 1;
}

class stalls {
public:
    stalls(std::list<cofork::pool>& pools, long rounds) : pools_{pools}, rounds_{rounds} {}

    asio::awaitable<void> measure()
    {
        for (auto& pool : pools_) {
            bench_add(&quiet_, co_await while_doing(pause()));
            bench_add(&start_, co_await while_doing(start_workers(pool)));
            bench_add(&replace_, co_await while_doing(replace_worker(pool)));
            bench_add(&fork_, co_await while_doing(bare_fork()));
            bench_add(&snapshot_, co_await while_doing(take_snapshot()));
        }
        bench_print("fork_ns", &fork_, 0);
        bench_print("quiet_ns", &quiet_, 0);
        bench_print("start_ns", &start_, sum_);
        bench_print("replace_ns", &replace_, 0);
        bench_print("snapshot_ns", &snapshot_, 0);
    }

private:
    asio::awaitable<std::int64_t> while_doing(asio::awaitable<void> event)
    {
        asio::co_spawn(co_await asio::this_coro::executor, meter_.watch(), asio::detached);
        co_await std::move(event);
        co_return co_await meter_.stop();
    }

    asio::awaitable<void> pause()
    {
        asio::steady_timer timer{co_await asio::this_coro::executor, 50ms};
        co_await timer.async_wait(asio::use_awaitable);
    }

    /// As the snapshot, out of a loop that has turned for a while: a fork right after another one takes half as long.
    asio::awaitable<void> bare_fork()
    {
        co_await pause();
        const pid_t child = ::fork();
        if (child == 0)
            ::_exit(0);
        if (child < 0)
            bench_fail("fork");
        co_await pause();
        ::waitpid(child, nullptr, 0);
    }

    asio::awaitable<void> start_workers(cofork::pool& pool)
    {
        const std::vector<int> results = co_await cofork::parallel(pool, hold, eight_, cofork::options{.chunk = 1});
        for (const int x : results)
            sum_ += x;
    }

    asio::awaitable<void> replace_worker(cofork::pool& pool)
    {
        const auto dead = co_await cofork::try_run(pool, die, 1);
        if (dead)
            throw std::runtime_error{"the worker did not die"};
        co_await start_workers(pool);
    }

    asio::awaitable<void> take_snapshot()
    {
        const std::vector<int> results = co_await cofork::parallel(hold, eight_, cofork::options{.workers = 8, .chunk = 1});
        for (const int x : results)
            sum_ += x;
    }

    std::list<cofork::pool>& pools_;
    long rounds_;
    const std::vector<int> eight_ = std::vector<int>(8, 1);
    bench::stall_meter meter_;
    bench_series fork_{}, quiet_{}, start_{}, replace_{}, snapshot_{};
    std::int64_t sum_ = 0;
};

int main(int argc, char** argv)
{
    const long rounds = bench_number(argc, argv, "--rounds", 3);
    asio::io_context loop;
    std::list<cofork::pool> pools; // made first, as a program should
    for (long i = 0; i < rounds; ++i)
        pools.emplace_back(loop, cofork::pool_options{.workers = 8});
    load_ballast(static_cast<std::size_t>(bench_number(argc, argv, "--ballast", 0)) << 20);
    stalls s{pools, rounds};
    bench::on_loop(loop, s.measure());
}
