#pragma once
// What functions of a pool count: they have no captures, so it is found by name.

#include <atomic>

namespace test {

struct counts {
    std::atomic<int> inits;
    std::atomic<int> now;
    std::atomic<int> most;
};
inline counts* counted = nullptr;

} // namespace test
