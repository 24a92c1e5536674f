// One warm call: run(pool, f, x), one after the other. `--spin`: pool_options::spin, microseconds.

#include "../common/on_loop.hpp"

static std::int64_t add_one(std::int64_t x)
{
    return x + 1;
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
    const auto place = bench_placement(argc, argv);
    bench_go(place.caller);
    asio::io_context loop;
    const std::chrono::microseconds spin{bench_number(argc, argv, "--spin", 0)};
    cofork::pool pool{loop, {.workers = 1, .init = bench::pinned_to(place.worker), .spin = spin}};
    bench::on_loop(loop, make_calls(pool, bench_number(argc, argv, "--calls", 2000)));
}
