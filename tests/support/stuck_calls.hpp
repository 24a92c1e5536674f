#pragma once
// Calls whose items never end, a board on which their workers note themselves, and a handler that counts.

#include "faults.hpp"
#include "shared.hpp"
#include "work.hpp"

#include <sys/types.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <utility>
#include <vector>

namespace test {

struct board {
    std::array<std::atomic<int>, 1024> starts;
    std::array<std::atomic<pid_t>, 64> pids;
    std::atomic<int> running;
    std::atomic<int> answer;
};
inline board* now = nullptr;

using shared_board = shared_at<now>;

/// Notes that it runs, and never ends.
inline int stuck(int item)
{
    now->pids[static_cast<std::size_t>(item) % 64] = ::getpid();
    ++now->starts[static_cast<std::size_t>(item)];
    ++now->running;
    hang();
}

using values = std::vector<int>;

/// A call that is completed by hand.
struct ended {
    int times = 0;
    std::exception_ptr error;
    values got;

    auto handler()
    {
        return [this](std::exception_ptr e, values v) {
            ++times;
            error = std::move(e);
            got = std::move(v);
        };
    }
};

/// The workers of the items below `count`, as far as they ran.
inline bool all_gone(int count)
{
    const auto gone = [](const auto& pid) { return pid == 0 || is_gone(pid); };
    return std::all_of(now->pids.begin(), now->pids.begin() + count, gone);
}

} // namespace test
