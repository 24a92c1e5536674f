// expect: return the value itself, not a pointer, reference or view
#include <cofork/parallel.hpp>
#include <cofork/wait.hpp>

#include <string>
#include <string_view>
#include <vector>

#ifdef FIXED
using result = std::string;
#else
using result = std::string_view;
#endif

static std::string text = "x";

static result f(int)
{
    return result{text};
}

int main()
{
    std::vector<int> items{1, 2, 3};
    cofork::wait(cofork::parallel(f, items));
}
