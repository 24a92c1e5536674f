// Trivial items in a loop. The function is not inlined, as it is in no other contender.

#include "../common/numbers.hpp"

[[gnu::noinline]] static int add_one(int x)
{
    return x + 1;
}

int main(int argc, char** argv)
{
    bench::time_rounds(argc, argv, [](const std::vector<int>& items) {
        std::vector<int> results(items.size());
        for (std::size_t i = 0; i < items.size(); ++i)
            results[i] = add_one(items[i]);
        return results;
    });
}
