// expect: name it first
#include <cofork/cofork.hpp>

#include <string>

asio::awaitable<void> start(std::string text)
{
#if defined(__clang__) && !defined(FIXED)
#error name it first: said by the compilers before g++ 14 that need it, and clang does not
#endif
#ifdef FIXED
    auto f = [text](int) { return text; };
    co_await cofork::run(f, 5);
#else
    co_await cofork::run([text](int) { return text; }, 5);
#endif
}

int main() {}
