#pragma once
// Memory for what comes by a pipe.

#include "spare_mapping.hpp"

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

    /// Keeps all that there was room for. `in_the_end` says how much there will be when more follows: that takes addresses
    /// and no memory, and nothing has to move before it is more than a GiB. Throws std::bad_alloc.
    void reserve(std::size_t capacity, std::size_t in_the_end = 0)
    {
        if (capacity <= capacity_)
            return;
        const std::size_t whole = std::max(capacity, std::min(in_the_end, most_addresses));
        if (mapped_ > 0 || whole >= least_mapping)
            capacity = reserve_mapped(in_huge_pages(capacity), in_huge_pages(whole));
        else if (void* const grown = std::realloc(data_, capacity))
            data_ = static_cast<std::byte*>(grown);
        else
            throw std::bad_alloc{};
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
    static constexpr std::size_t least_mapping = 256 * 1024;
    static constexpr std::size_t most_addresses = std::size_t{1} << 30; // what is announced may be nonsense

    static std::size_t in_huge_pages(std::size_t size) noexcept { return (size + huge_page - 1) & ~(huge_page - 1); }

    /// Returns `capacity`.
    std::size_t reserve_mapped(std::size_t capacity, std::size_t whole)
    {
        if (mapped_ == 0)
            map(capacity, whole);
        else if (capacity > opened_) {
            open(data_, std::min(capacity, mapped_));
            opened_ = std::min(capacity, mapped_);
        }
        if (capacity > mapped_) {
            void* const grown = ::mremap(data_, mapped_, capacity, MREMAP_MAYMOVE);
            if (grown == MAP_FAILED)
                throw std::bad_alloc{};
            data_ = static_cast<std::byte*>(grown);
            mapped_ = opened_ = capacity;
        }
        return capacity;
    }

    /// What mmap(2) gives without access counts as no memory.
    void map(std::size_t capacity, std::size_t whole)
    {
        spare_mapping::extent found;
        void* fresh = huge_pages_ ? nullptr : spare_mapping::take(whole, found);
        if (fresh)
            whole = found.mapped;
        else {
            fresh = ::mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (fresh == MAP_FAILED)
                throw std::bad_alloc{};
            if (huge_pages_)
                ::madvise(fresh, whole, MADV_HUGEPAGE);
        }
        if (capacity > found.open) {
            try {
                open(fresh, capacity);
            }
            catch (...) {
                ::munmap(fresh, whole);
                throw;
            }
        }
        opened_ = std::max(capacity, found.open);
        if (capacity_ > 0)
            std::memcpy(fresh, data_, capacity_);
        std::free(data_);
        data_ = static_cast<std::byte*>(fresh);
        mapped_ = whole;
    }

    static void open(void* memory, std::size_t capacity)
    {
        if (::mprotect(memory, capacity, PROT_READ | PROT_WRITE) != 0)
            throw std::bad_alloc{};
    }

    void release() noexcept
    {
        if (mapped_ > 0 && !huge_pages_)
            spare_mapping::give(data_, {mapped_, opened_});
        else if (mapped_ > 0)
            ::munmap(data_, mapped_);
        else
            std::free(data_);
        data_ = nullptr;
        capacity_ = mapped_ = opened_ = 0;
    }

    bool huge_pages_;
    std::byte* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
    std::size_t mapped_ = 0; // 0: from malloc
    std::size_t opened_ = 0; // of these, from the begin, for reading and writing
};

} // namespace cofork::detail
