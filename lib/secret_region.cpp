#include <cofork/secret_region.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <sys/mman.h>

namespace cofork {

namespace {

/// mmap(2) takes no 0.
std::size_t mapped(std::size_t bytes) noexcept
{
    return std::max<std::size_t>(bytes, 1);
}

} // namespace

secret_region::secret_region(std::size_t bytes) : size_{bytes}
{
    void* const memory = ::mmap(nullptr, mapped(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        throw std::system_error{errno, std::system_category(), "secret_region: mmap"};
    if (::madvise(memory, mapped(bytes), MADV_WIPEONFORK) < 0) {
        const int error = errno;
        ::munmap(memory, mapped(bytes));
        throw std::system_error{error, std::system_category(), "secret_region: MADV_WIPEONFORK"};
    }
    ::madvise(memory, mapped(bytes), MADV_DONTDUMP);
    locked_ = ::mlock(memory, mapped(bytes)) == 0;
    data_ = static_cast<std::byte*>(memory);
}

secret_region::~secret_region()
{
    ::explicit_bzero(data_, size_);
    ::munmap(data_, mapped(size_));
}

} // namespace cofork
