#pragma once
// Memory for what comes by a pipe.

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include <sys/mman.h>

namespace cofork::detail {

/// Bytes that grow without being filled with zeros first, and, when they are many, without being copied: they have a mapping
/// of their own. To touch fresh memory costs more than to fill it.
class growing_bytes {
public:
    /// `huge_pages`: where the kernel gives them. They cost less together, and each a millisecond at once: not for a loop.
    explicit growing_bytes(bool huge_pages = false) noexcept : huge_pages_{huge_pages} {}
    ~growing_bytes() { release(); }
    growing_bytes(const growing_bytes&) = delete;
    growing_bytes& operator=(const growing_bytes&) = delete;

    std::byte* data() noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }
    std::size_t capacity() const noexcept { return capacity_; }
    std::size_t spare() const noexcept { return capacity_ - size_; }

    /// Keeps all that there was room for. Throws std::bad_alloc.
    void reserve(std::size_t capacity)
    {
        if (capacity <= capacity_)
            return;
        const bool maps = capacity >= least_mapping;
        if (maps)
            capacity = (capacity + huge_page - 1) & ~(huge_page - 1);
        void* const grown = maps ? map(capacity) : std::realloc(data_, capacity);
        if (!grown)
            throw std::bad_alloc{};
        data_ = static_cast<std::byte*>(grown);
        capacity_ = capacity;
    }

    void append(byte_view more)
    {
        if (more.size() > spare())
            reserve(std::max(size_ + more.size(), 2 * size_));
        std::copy(more.begin(), more.end(), data_ + size_);
        size_ += more.size();
    }

    void grew(std::size_t by) noexcept { size_ += by; }

    void clear() noexcept
    {
        size_ = 0;
        if (capacity_ > keep)
            release();
    }

private:
    static constexpr std::size_t keep = 64 * 1024;
    static constexpr std::size_t huge_page = std::size_t{2} << 20;
    static constexpr std::size_t least_mapping = 2 * huge_page;

    bool is_mapped() const noexcept { return capacity_ >= least_mapping; }

    /// Null when there is no memory.
    void* map(std::size_t capacity) noexcept
    {
        if (is_mapped()) {
            void* const grown = ::mremap(data_, capacity_, capacity, MREMAP_MAYMOVE);
            return grown == MAP_FAILED ? nullptr : grown;
        }
        void* const fresh = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (fresh == MAP_FAILED)
            return nullptr;
        if (huge_pages_)
            ::madvise(fresh, capacity, MADV_HUGEPAGE);
        if (capacity_ > 0)
            std::memcpy(fresh, data_, capacity_);
        std::free(data_);
        return fresh;
    }

    void release() noexcept
    {
        if (is_mapped())
            ::munmap(data_, capacity_);
        else
            std::free(data_);
        data_ = nullptr;
        capacity_ = 0;
    }

    bool huge_pages_;
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
};

} // namespace cofork::detail
