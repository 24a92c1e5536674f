#pragma once
// What a worker keeps of the memory that its nursery shares with the program.

#include <cstddef>
#include <cstdint>

#include <sys/mman.h>

namespace cofork::detail {

/// Of an array with an element for each slot, that of one: what two workers shared, one of them could use against the other; and
/// a grandchild has no business there. Returns it.
template <typename T>
T* keep_only(T* all, std::uint32_t slots, std::uint32_t slot) noexcept
{
    T* const own = all + slot;
    if (slot > 0)
        ::munmap(all, slot * sizeof(T));
    if (slot + 1 < slots)
        ::munmap(own + 1, (slots - slot - 1) * sizeof(T));
    ::madvise(own, sizeof(T), MADV_DONTFORK);
    return own;
}

} // namespace cofork::detail
