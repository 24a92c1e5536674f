#pragma once
// Memory that workers do not get to see.

#include <cstddef>
#include <span>

namespace cofork {

/// Memory for keys and the like: in every fork of this process, and so in every worker and its nursery, it reads as zeros
/// (MADV_WIPEONFORK of madvise(2)); it is not swapped out where the process may lock so much (mlock(2)), and in no core dump.
///
/// Only what is in it is hidden. Copies are not: a key that was read through a buffer, a string or a library's own memory
/// before a fork is still there. Make the pool before there is a secret where that is possible.
class secret_region {
public:
    /// Zeros. Throws std::system_error: ENOMEM (mmap(2)); EINVAL where the kernel cannot hide it (Linux before 4.14).
    explicit secret_region(std::size_t bytes);
    /// Overwrites it with zeros.
    ~secret_region();
    secret_region(const secret_region&) = delete;
    secret_region& operator=(const secret_region&) = delete;

    std::span<std::byte> bytes() noexcept { return {data_, size_}; }
    std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
    /// Whether it is kept from swap.
    bool locked() const noexcept { return locked_; }

private:
    std::byte* data_ = nullptr;
    std::size_t size_;
    bool locked_ = false;
};

} // namespace cofork
