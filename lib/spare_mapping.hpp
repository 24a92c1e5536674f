#pragma once
// Memory that was touched once, and would cost as much again.

#include <atomic>
#include <cstddef>
#include <cstring>

#include <sys/mman.h>

namespace cofork::detail {

/// The last large mapping that nobody needed any more, for the next who needs one: to touch fresh memory costs more than to
/// fill it. Of the whole process, on any thread; a fork has a copy of its own. A place that comes to rest drops it.
class spare_mapping {
public:
    struct extent {
        std::size_t mapped = 0;
        std::size_t open = 0; ///< of these, from the begin, can be used
    };

    /// Returns null, or memory, which is the caller's then.
    static void* take(std::size_t at_least, extent& found) noexcept
    {
        void* const spare = kept_.exchange(nullptr, std::memory_order_acq_rel);
        if (!spare)
            return nullptr;
        extent of_it;
        std::memcpy(&of_it, spare, sizeof of_it);
        if (of_it.mapped < at_least) {
            ::munmap(spare, of_it.mapped);
            return nullptr;
        }
        found = of_it;
        return spare;
    }

    static void give(void* memory, extent of_it) noexcept
    {
        if (of_it.mapped <= most) {
            std::memcpy(memory, &of_it, sizeof of_it);
            memory = kept_.exchange(memory, std::memory_order_acq_rel);
            if (!memory)
                return;
            std::memcpy(&of_it, memory, sizeof of_it);
        }
        ::munmap(memory, of_it.mapped);
    }

    /// It will not be needed soon.
    static void drop() noexcept
    {
        extent found;
        if (void* const spare = take(0, found))
            ::munmap(spare, found.mapped);
    }

private:
    static constexpr std::size_t most = std::size_t{32} << 20;
    inline static std::atomic<void*> kept_ = nullptr; // no lock: a fork could find it locked for ever
};

} // namespace cofork::detail
