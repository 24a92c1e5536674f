// expect: fini takes the state that init has made, by reference and by its name
#include <cofork/pool.hpp>

int main()
{
    cofork::pool_options o;
    o.init = [] { return 5; };
#ifdef FIXED
    o.fini = [](int& state) { (void)state; };
#else
    o.fini = [](int state) { (void)state; };
#endif
    (void)o;
}
