// expect: the callable owns something (a string, a vector, a pointer with a destructor)
#include <cofork/cofork.hpp>

#include <string>

int main()
{
#ifdef FIXED
    const int what = 5;
#else
    const std::string what = "text";
#endif
    auto f = cofork::by_bytes([what](int x) {
        (void)what;
        return x;
    });
    (void)f;
}
