// expect: f returns a reference, which means nothing in another process
#include <cofork/cofork.hpp>

#include <string>

static std::string text = "x";

#ifdef FIXED
static std::string f(int)
#else
static std::string& f(int)
#endif
{
    return text;
}

int main()
{
    std::vector<int> items{1, 2, 3};
    cofork::wait(cofork::parallel(f, items));
}
