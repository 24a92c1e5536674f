// expect: return the value itself, not a pointer, reference or view
#include <cofork/parallel.hpp>
#include <cofork/wait.hpp>

static int shared = 5;

#ifdef FIXED
static int f(int)
{
    return shared;
}
#else
static int* f(int)
{
    return &shared;
}
#endif

int main()
{
    std::vector<int> items{1, 2, 3};
    cofork::wait(cofork::parallel(f, items));
}
