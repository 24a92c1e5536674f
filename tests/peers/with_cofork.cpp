// cofork, one try_parallel; the same work as peers.py.

#include <cofork/cofork.hpp>

#include <asio/io_context.hpp>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;

constexpr int poison = -1;  // dies of SIGSEGV
constexpr int hang = -2;    // never ends
constexpr int endless = -3; // far longer than the run

int f(int item)
{
    if (item == poison)
        std::raise(SIGSEGV);
    for (volatile bool forever = item == hang; forever;) {
    }
    if (item == endless)
        std::this_thread::sleep_for(600s);
    return 2 * item;
}

std::vector<int> numbers(int n)
{
    std::vector<int> all;
    for (int i = 0; i < n; ++i)
        all.push_back(i);
    return all;
}

} // namespace

int main(int argc, char** argv)
{
    const int row = argc > 1 ? std::atoi(argv[1]) : 0;
    std::vector<int> items = numbers(row == 1 ? 20 : row == 8 ? 64 : row == 34 ? 8 : 4);
    const std::size_t bad = row == 1 ? 7 : row == 8 ? 31 : 3;
    if (row == 64)
        items.assign(items.size(), endless);
    else
        items[bad] = row == 34 ? hang : poison;
    cofork::options how{.workers = 2, .chunk = row == 8 ? 64u : 1u};
    if (row == 34)
        how.timeout = 1s;
    asio::io_context context;
    cofork::pool pool{context, {.workers = 2}};
    const auto outcomes = cofork::wait(cofork::try_parallel(pool, f, items, how));
    int right = 0;
    for (std::size_t i = 0; i < outcomes.size(); ++i)
        right += i != bad && outcomes[i] && *outcomes[i] == 2 * static_cast<int>(i) ? 1 : 0;
    const bool works_after = cofork::wait(cofork::parallel(pool, f, numbers(4))) == std::vector<int>{0, 2, 4, 6};
    std::cout << std::boolalpha << "{\"right\": " << right << ", \"bad_failed\": " << !outcomes[bad]
              << ", \"works_after\": " << works_after << "}\n";
}
