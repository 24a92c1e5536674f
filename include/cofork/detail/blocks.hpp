#pragma once
// Memory of a handler's allocator.

#include <cstddef>
#include <memory>

namespace cofork::detail {

/// Memory of an allocator, asked for in blocks that have no type of their own: so a program has the code for it once.
template <typename Allocator, std::size_t Alignment>
class blocks {
    struct alignas(Alignment) block {
        std::byte bytes[Alignment];
    };
    using traits = typename std::allocator_traits<Allocator>::template rebind_traits<block>;
    using pointer = typename traits::pointer;

public:
    static void* allocate(const Allocator& from, std::size_t bytes)
    {
        typename traits::allocator_type own{from};
        return std::to_address(traits::allocate(own, length(bytes)));
    }
    static void deallocate(const Allocator& to, void* place, std::size_t bytes) noexcept
    {
        typename traits::allocator_type own{to};
        traits::deallocate(own, std::pointer_traits<pointer>::pointer_to(*static_cast<block*>(place)), length(bytes));
    }

private:
    static std::size_t length(std::size_t bytes) noexcept { return (bytes + Alignment - 1) / Alignment; }
};

} // namespace cofork::detail
