// Large results and large items, one call after the other: run(pool, f, ...) with one worker.

#include "../common/on_loop.hpp"
#include "../common/touch.h"

#include <string_view>
#include <vector>

using buffer = std::vector<char>;

static buffer make_result(std::size_t size, char value)
{
    return buffer(size, value);
}

static std::int64_t take_item(const buffer& item)
{
    return touch_pages(item.data(), item.size());
}

static asio::awaitable<void> make_calls(cofork::pool& pool, std::size_t size, long calls, bool results)
{
    const cofork::options wide{.max_result = size + 4096};
    bench_series took{};
    std::int64_t check = 0;
    for (long i = -2; i < calls; ++i) {
        const char value = static_cast<char>((i + 2) % 100);
        buffer bytes = results ? buffer{} : buffer(size, value);
        std::int64_t seen = 0;
        const auto began = bench_now();
        if (results)
            bytes = co_await cofork::run(pool, make_result, size, value, wide);
        else
            seen = co_await cofork::run(pool, take_item, std::move(bytes), wide);
        if (i >= 0)
            bench_add(&took, bench_now() - began);
        check += results ? touch_pages(bytes.data(), bytes.size()) : seen;
    }
    bench_print("call_ns", &took, check);
}

int main(int argc, char** argv)
{
    const auto place = bench_placement(argc, argv);
    const auto size = static_cast<std::size_t>(bench_number(argc, argv, "--size", 1 << 20));
    const bool results = std::string_view{bench_word(argc, argv, "--direction", "result")} == "result";
    bench_go(place.caller);
    asio::io_context loop;
    cofork::pool pool{loop, {.workers = 1, .init = bench::pinned_to(place.worker)}};
    bench::on_loop(loop, make_calls(pool, size, bench_number(argc, argv, "--calls", 20), results));
}
