// expect: return the value itself, not a pointer, reference or view
#include <cofork/parallel.hpp>
#include <cofork/wait.hpp>

#include <span>
#include <vector>

#ifdef FIXED
using result = std::vector<int>;
#else
using result = std::span<int>;
#endif

static std::vector<int> numbers{1, 2, 3};

static result f(int)
{
    return {numbers.begin(), numbers.end()};
}

int main()
{
    std::vector<int> items{1, 2, 3};
    cofork::wait(cofork::parallel(f, items));
}
