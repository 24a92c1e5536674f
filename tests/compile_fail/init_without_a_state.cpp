// expect: init returns the worker's state
#include <cofork/cofork.hpp>

int main()
{
    cofork::pool_options o;
#ifdef FIXED
    o.init = [] { return 5; };
#else
    o.init = [] {};
#endif
    (void)o;
}
