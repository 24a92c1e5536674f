// A pool of many workers, mostly idle: how long they take to start, beside bare forks; one call; their memory.

#include "../common/idle_forks.hpp"
#include "../common/on_loop.hpp"

#include <atomic>
#include <chrono>
#include <sys/mman.h>
#include <sys/resource.h>
#include <thread>

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

struct number {
    long of_worker;
};

static std::atomic<long>* there; // workers that have begun

/// In a worker: returns when so many workers have begun.
static long until_all_are_there(long workers)
{
    while (*there < workers)
        std::this_thread::sleep_for(1ms);
    return *there;
}

/// By a call, since a pool hears of its workers only while there is one.
static asio::awaitable<void> start_all(cofork::pool& pool, long workers, long& counted)
{
    counted = co_await cofork::run(pool, until_all_are_there, workers);
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
    there = shared_counter();
    const auto began = bench_now();
    asio::io_context loop;
    const auto all = static_cast<unsigned>(workers);
    cofork::pool pool{loop, {.workers = all, .min_workers = all, .init = [] { return number{++*there}; }}};
    long counted = 0;
    bench::on_loop(loop, start_all(pool, workers, counted));
    bench_print_one("start_ns", bench_now() - began, counted);
    bench::on_loop(loop, make_calls(pool, bench_number(argc, argv, "--calls", 1000)));
    bench_print_one("parent_growth_kib", bench_proc_field("/proc/self/status", "VmRSS") - before, 0);
}
