// Trivial items by a std::thread pool with a queue, `--chunk` of them in each task.

#include "../common/numbers.hpp"
#include "../common/thread_pool.hpp"

[[gnu::noinline]] static int add_one(int x)
{
    return x + 1;
}

int main(int argc, char** argv)
{
    bench::thread_pool pool{static_cast<unsigned>(bench_number(argc, argv, "--workers", 2))};
    const auto chunk = static_cast<std::size_t>(bench_number(argc, argv, "--chunk", 1));
    bench::time_rounds(argc, argv, [&](const std::vector<int>& items) {
        std::vector<int> results(items.size());
        pool.for_each_index(items.size(), chunk, [&](std::size_t i) { results[i] = add_one(items[i]); });
        return results;
    });
}
