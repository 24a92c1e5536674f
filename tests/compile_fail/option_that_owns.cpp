// expect: options must own nothing
#include <cofork/cofork.hpp>

#include <string>

int main()
{
    const std::string text = "x";
    cofork::options o;
#ifdef FIXED
    o.on_error = [&text](const cofork::failure&) { (void)text; };
#else
    o.on_error = [text](const cofork::failure&) { (void)text; };
#endif
    (void)o;
}
