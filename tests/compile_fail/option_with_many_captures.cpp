// expect: this callable captures more than six references: capture one struct
#include <cofork/options.hpp>

int main()
{
    int a = 1;
    int b = 2;
    int c = 3;
    int d = 4;
    int e = 5;
    int f = 6;
    int g = 7;
    cofork::options o;
#ifdef FIXED
    struct {
        int a, b, c, d, e, f, g;
    } all{a, b, c, d, e, f, g};
    o.on_error = [&](const cofork::failure&) { all.a = all.b + all.c + all.d + all.e + all.f + all.g; };
#else
    o.on_error = [&](const cofork::failure&) { a = b + c + d + e + f + g; };
#endif
    (void)o;
}
