// expect: this completion token brings no executor
#include <cofork/cofork.hpp>

#include <asio/use_future.hpp>

static int f(int x)
{
    return x;
}

int main()
{
    asio::io_context context;
    std::vector<int> items{1};
#ifdef FIXED
    auto result = cofork::parallel(context.get_executor(), f, items, asio::use_future);
#else
    auto result = cofork::parallel(f, items, asio::use_future);
#endif
    context.run();
    (void)result;
}
