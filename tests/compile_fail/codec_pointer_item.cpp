// expect: these items travel to another process: pass the values themselves, not pointers, references or views
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

#include <vector>

#ifdef FIXED
using item = int;
static int f(int x)
{
    return x;
}
#else
using item = const int*;
static int f(const int* x)
{
    return *x;
}
#endif

void start(cofork::pool& pool, const std::vector<item>& items)
{
    cofork::parallel(pool, f, items, [](std::exception_ptr, const std::vector<int>&) {});
}

int main() {}
