// expect: f cannot be called with these arguments
#include <cofork/cofork.hpp>

static int f(int a, int b)
{
    return a + b;
}

int main()
{
#ifdef FIXED
    cofork::wait(cofork::run(f, 1, 2));
#else
    cofork::wait(cofork::run(f, "text", 2, 3));
#endif
}
