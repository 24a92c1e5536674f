// A pool of many workers, mostly idle: how long they take to start, beside bare forks; one call; their memory.

#include "../common/idle_forks.hpp"
#include "../common/on_loop.hpp"

#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <atomic>
#include <chrono>
#include <sys/mman.h>
#include <sys/resource.h>

using namespace std::chrono_literals;

static std::int64_t add_one(std::int64_t x)
{
    return x + 1;
}

static std::atomic<long>* shared_counter()
{
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        bench_fail("mmap");
    return new (memory) std::atomic<long>{0};
}

struct counted {
    long number;
};

static asio::awaitable<void> until_all_are_there(const std::atomic<long>& there, long workers)
{
    asio::steady_timer timer{co_await asio::this_coro::executor};
    while (there < workers) {
        timer.expires_after(1ms);
        co_await timer.async_wait(asio::use_awaitable);
    }
}

static asio::awaitable<void> make_calls(cofork::pool& pool, long calls)
{
    bench_series took{};
    std::int64_t sum = 0;
    for (long i = -calls / 10; i < calls; ++i) {
        const auto began = bench_now();
        const std::int64_t y = co_await cofork::run(pool, add_one, std::int64_t{i});
        if (i >= 0) {
            bench_add(&took, bench_now() - began);
            sum += y;
        }
    }
    bench_print("call_ns", &took, sum);
}

int main(int argc, char** argv)
{
    const long workers = bench_number(argc, argv, "--workers", 2);
    rlimit files{};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    {
        const auto began = bench_now();
        const bench::idle_forks forks{static_cast<unsigned>(workers)};
        bench_print_one("bare_forks_ns", bench_now() - began, 0);
    }
    const long before = bench_proc_field("/proc/self/status", "VmRSS");
    auto* const there = shared_counter();
    const auto began = bench_now();
    asio::io_context loop;
    const auto all = static_cast<unsigned>(workers);
    cofork::pool pool{loop, {.workers = all, .min_workers = all, .init = [there] { return counted{++*there}; }}};
    bench::on_loop(loop, until_all_are_there(*there, workers));
    bench_print_one("start_ns", bench_now() - began, there->load());
    bench::on_loop(loop, make_calls(pool, bench_number(argc, argv, "--calls", 1000)));
    bench_print_one("parent_growth_kib", bench_proc_field("/proc/self/status", "VmRSS") - before, 0);
}
