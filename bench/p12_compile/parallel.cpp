// plain.cpp with one call of parallel().

#include <asio/awaitable.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>

#include <cofork/cofork.hpp>

#include <cstdio>
#include <vector>

static int add_one(int x)
{
    return x + 1;
}

static asio::awaitable<void> work()
{
    const std::vector<int> items{1, 2, 3};
    const std::vector<int> results = co_await cofork::parallel(add_one, items);
    std::printf("%d\n", results.back());
}

int main()
{
    asio::io_context loop;
    asio::co_spawn(loop, work(), asio::detached);
    loop.run();
}
