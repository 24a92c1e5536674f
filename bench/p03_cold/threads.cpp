// Trivial items from nothing: a std::thread pool made for the call, 512 items in each task.

#include "../common/numbers.hpp"
#include "../common/thread_pool.hpp"

[[gnu::noinline]] static int add_one(int x)
{
    return x + 1;
}

int main(int argc, char** argv)
{
    const auto workers = static_cast<unsigned>(bench_number(argc, argv, "--workers", 2));
    bench::time_rounds(argc, argv, [&](const std::vector<int>& items) {
        std::vector<int> results(items.size());
        bench::thread_pool pool{workers};
        pool.for_each_index(items.size(), 512, [&](std::size_t i) { results[i] = add_one(items[i]); });
        return results;
    });
}
