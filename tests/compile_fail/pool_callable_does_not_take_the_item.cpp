// expect: f cannot be called with an item
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

#include <string>
#include <vector>

#ifdef FIXED
using item = int;
#else
using item = std::string;
#endif

static int f(int x)
{
    return x;
}

void start(cofork::pool& pool, const std::vector<item>& items)
{
    cofork::parallel(pool, f, items, [](std::exception_ptr, const std::vector<int>&) {});
}

int main() {}
