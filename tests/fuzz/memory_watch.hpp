#pragma once
// How much is allocated while it lives. Counts nothing without a sanitizer that tells of allocations.

#include <cstddef>

// <sanitizer/allocator_interface.h>; null in a build without.
extern "C" [[gnu::weak]] int __sanitizer_install_malloc_and_free_hooks(
    void (*malloc_hook)(const volatile void*, std::size_t), void (*free_hook)(const volatile void*));

namespace fuzz {

class memory_watch {
public:
    memory_watch()
    {
        [[maybe_unused]] static const bool installed = install();
        sum = largest = 0;
        counting = true;
    }
    ~memory_watch() { counting = false; }
    memory_watch(const memory_watch&) = delete;
    memory_watch& operator=(const memory_watch&) = delete;

    /// Bytes of all allocations together, whether freed meanwhile or not.
    std::size_t total() const noexcept { return sum; }
    /// Bytes of the largest one.
    std::size_t most() const noexcept { return largest; }

private:
    static bool install()
    {
        return __sanitizer_install_malloc_and_free_hooks != nullptr
            && __sanitizer_install_malloc_and_free_hooks(allocated, freed) != 0;
    }
    static void allocated(const volatile void*, std::size_t size)
    {
        if (!counting)
            return;
        sum += size;
        largest = size > largest ? size : largest;
    }
    static void freed(const volatile void*) {}

    // Of this thread: the fuzzer's own may allocate beside it.
    static inline thread_local bool counting = false;
    static inline thread_local std::size_t sum = 0;
    static inline thread_local std::size_t largest = 0;
};

} // namespace fuzz
