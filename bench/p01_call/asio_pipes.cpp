// One warm call by Asio alone: two pipes to a forked process, which reads blocking, and a coroutine that writes and reads. What
// a loop costs that serves other descriptors, too.

#include "../common/bench.h"

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/read.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

static void serve(int jobs, int results)
{
    for (std::int64_t x; bench_read_all(jobs, &x, sizeof x);) {
        ++x;
        bench_write_all(results, &x, sizeof x);
    }
    _exit(0);
}

static asio::awaitable<void> make_calls(asio::posix::stream_descriptor jobs, asio::posix::stream_descriptor results, long calls)
{
    bench_series took{};
    std::int64_t sum = 0;
    for (long i = -calls / 10; i < calls; ++i) {
        std::int64_t x = i;
        const auto began = bench_now();
        co_await asio::async_write(jobs, asio::buffer(&x, sizeof x), asio::use_awaitable);
        co_await asio::async_read(results, asio::buffer(&x, sizeof x), asio::use_awaitable);
        if (i >= 0) {
            bench_add(&took, bench_now() - began);
            sum += x;
        }
    }
    bench_print("call_ns", &took, sum);
}

int main(int argc, char** argv)
{
    const auto place = bench_placement(argc, argv);
    bench_go(place.caller);
    int job[2], result[2];
    if (::pipe(job) != 0 || ::pipe(result) != 0)
        bench_fail("pipe");
    const pid_t child = ::fork();
    if (child < 0)
        bench_fail("fork");
    if (child == 0) {
        bench_go(place.worker);
        ::close(job[1]);
        ::close(result[0]);
        serve(job[0], result[1]);
    }
    ::close(job[0]);
    ::close(result[1]);
    asio::io_context loop;
    asio::posix::stream_descriptor jobs{loop, job[1]}, results{loop, result[0]};
    asio::co_spawn(loop, make_calls(std::move(jobs), std::move(results), bench_number(argc, argv, "--calls", 2000)), asio::detached);
    loop.run();
    ::waitpid(child, nullptr, 0);
}
