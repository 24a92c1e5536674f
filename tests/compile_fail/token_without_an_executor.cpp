// expect: this completion token brings no executor
#include <cofork/cofork.hpp>

static int f(int x)
{
    return x;
}

int main()
{
    asio::io_context context;
    std::vector<int> items{1};
#ifdef FIXED
    cofork::parallel(context.get_executor(), f, items, {}, [](std::exception_ptr, std::vector<int>) {});
#else
    cofork::parallel(f, items, {}, [](std::exception_ptr, std::vector<int>) {});
#endif
    context.run();
}
