// expect: this callable has captures, and the pool's workers were forked before it existed
#include <cofork/cofork.hpp>

void start(cofork::pool& pool, const std::vector<int>& items, int factor)
{
    auto f = [factor](int x) { return factor * x; };
#ifdef FIXED
    cofork::parallel(pool, cofork::by_bytes(f), items, [](std::exception_ptr, const std::vector<int>&) {});
#else
    cofork::parallel(pool, f, items, [](std::exception_ptr, const std::vector<int>&) {});
#endif
}

int main() {}
