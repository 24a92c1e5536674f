// expect: f cannot be called with an item
#include <cofork/cofork.hpp>

#include <string>

static int f(const std::string&)
{
    return 0;
}

int main()
{
#ifdef FIXED
    std::vector<std::string> items{"1"};
#else
    std::vector<int> items{1};
#endif
    cofork::wait(cofork::parallel(f, items));
}
