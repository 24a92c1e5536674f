// expect: an outcome<failure> could not be told apart
#include <cofork/outcome.hpp>

#ifdef FIXED
using result = cofork::failure_kind;
#else
using result = cofork::failure;
#endif

int main()
{
    cofork::outcome<result> o{result{}};
    (void)o;
}
