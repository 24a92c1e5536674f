#pragma once
// Runs one coroutine of a benchmark on a loop.

#include "bench.h"

#include <cofork/cofork.hpp>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <exception>
#include <utility>

namespace bench {

/// Runs `work` to its end; what it throws is thrown here.
inline void on_loop(asio::io_context& loop, asio::awaitable<void> work)
{
    std::exception_ptr failed;
    asio::co_spawn(loop, std::move(work), [&](std::exception_ptr e) { failed = std::move(e); });
    loop.restart();
    loop.run();
    if (failed)
        std::rethrow_exception(failed);
}

/// The state of workers that were put on a processor. A type of its own, so that no `f` takes it for an argument.
struct placed {
    int cpu;
};

/// Puts workers on processor `cpu`; nowhere in particular when it is negative.
inline auto pinned_to(int cpu)
{
    return [cpu] {
        bench_go(cpu);
        return placed{cpu};
    };
}

} // namespace bench
