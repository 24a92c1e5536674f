#pragma once
// Memory for what is there once at a time, and again and again.

#include <cstddef>
#include <memory_resource>

namespace cofork::detail {

/// One block of at most `Size` bytes is its own; what is larger, or asked for while that is in use, comes from the heap. Used by
/// one thread at a time.
template <std::size_t Size>
class one_block final : public std::pmr::memory_resource {
    void* do_allocate(std::size_t bytes, std::size_t alignment) override
    {
        if (taken_ || bytes > Size || alignment > alignof(std::max_align_t))
            return std::pmr::new_delete_resource()->allocate(bytes, alignment);
        taken_ = true;
        return place_;
    }
    void do_deallocate(void* p, std::size_t bytes, std::size_t alignment) override
    {
        if (p == place_)
            taken_ = false;
        else
            std::pmr::new_delete_resource()->deallocate(p, bytes, alignment);
    }
    bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

    alignas(std::max_align_t) std::byte place_[Size];
    bool taken_ = false;
};

} // namespace cofork::detail
