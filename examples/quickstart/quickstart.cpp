// quickstart: call a function in other processes, wait for the answers.
//
// Shows: parallel() with workers and a pause; wait() for programs without an event loop, co_await for those with one.
// Next:  ../crawler, a whole program.

#include <cofork/cofork.hpp>

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <exception>
#include <iostream>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

static int slowly_doubled(int x)
{
    std::this_thread::sleep_for(1s); // blocks, and nobody minds
    return 2 * x;
}

static int add_one(int x)
{
    return x + 1;
}

static void print(const char* what, const std::vector<int>& results, steady::time_point began)
{
    const std::chrono::duration<double> took = steady::now() - began;
    std::cout << what << ": the sum is " << std::accumulate(results.begin(), results.end(), 0) << ", after "
              << took.count() << " s\n";
}

static asio::awaitable<void> many_small_items()
{
    std::vector<int> numbers(10'000);
    std::iota(numbers.begin(), numbers.end(), 1);

    const auto began = steady::now();
    const std::vector<int> results = co_await cofork::parallel(add_one, numbers);
    print("ten thousand trivial items", results, began);
}

int main(int argc, char** argv)
try {
    if (argc > 1) {
        const bool asked = std::string_view{argv[1]} == "--help";
        (asked ? std::cout : std::cerr) << "usage: quickstart\nMakes three calls in other processes, and says how long they took.\n";
        return asked ? 0 : 2;
    }
    const std::vector<int> items{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

    auto began = steady::now();
    std::vector<int> results = cofork::wait(cofork::parallel(slowly_doubled, items, {.workers = 8}));
    print("ten items of a second, eight workers", results, began);

    began = steady::now();
    results = cofork::wait(cofork::parallel(slowly_doubled, items, {.workers = 8, .pause = 250ms}));
    print("the same, their starts 250 ms apart", results, began);

    asio::io_context loop;
    asio::co_spawn(loop, many_small_items(), [](std::exception_ptr error) {
        if (error)
            std::rethrow_exception(error);
    });
    loop.run();
    if (!std::cout.flush()) {
        std::cerr << "quickstart: the results could not be written\n";
        return 1;
    }
}
catch (const std::exception& error) {
    std::cerr << "quickstart: " << error.what() << "\n";
    return 1;
}
