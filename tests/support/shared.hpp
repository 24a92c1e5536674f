#pragma once
// An object that the test and its workers see both: what a worker writes to other memory is lost with it.

#include "catch.hpp"

#include <sys/mman.h>

#include <new>
#include <type_traits>

namespace test {

/// A T in memory that stays shared across forks. Make it before the call or the pool whose workers use it.
template <typename T>
class shared {
    static_assert(std::is_trivially_destructible_v<T>);

public:
    shared()
    {
        void* const memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        object_ = ::new (memory) T{};
    }
    shared(const shared&) = delete;
    shared& operator=(const shared&) = delete;
    ~shared() { ::munmap(object_, sizeof(T)); }

    T& operator*() const noexcept { return *object_; }
    T* operator->() const noexcept { return object_; }

private:
    T* object_;
};

/// As long as it lives, the pointer `Where` has an object that is shared so. By it the functions that run in a pool
/// find the object: captures cannot come along there.
template <auto& Where>
class shared_at {
public:
    shared_at() { Where = &*memory_; }
    shared_at(const shared_at&) = delete;
    shared_at& operator=(const shared_at&) = delete;
    ~shared_at() { Where = nullptr; }

private:
    shared<std::remove_pointer_t<std::remove_reference_t<decltype(Where)>>> memory_;
};

} // namespace test
