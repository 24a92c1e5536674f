#pragma once
// Descriptors with one owner. Depends on nothing else in the library.

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace cofork::detail {

/// Owns one file descriptor and closes it on destruction; empty when moved from.
///
/// A plain `int fd` in our signatures is always borrowed for the duration of the call. Only an `owned_fd` by value hands
/// a descriptor over.
class owned_fd {
public:
    owned_fd() = default;
    explicit owned_fd(int fd) noexcept : fd_{fd} {}
    owned_fd(owned_fd&& other) noexcept : fd_{other.release()} {}
    owned_fd& operator=(owned_fd&& other) noexcept
    {
        reset(other.release());
        return *this;
    }
    ~owned_fd() { reset(); }

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ >= 0; }

    void reset(int fd = -1) noexcept
    {
        // Never retried on EINTR: Linux has freed the number by then, and a second close could hit a descriptor that
        // another thread has just been given (close(2)).
        if (const int old = std::exchange(fd_, fd); old >= 0)
            ::close(old);
    }

private:
    int fd_ = -1;
};

/// A second descriptor of the same thing, close-on-exec and above stdio. Throws std::system_error: EMFILE (fcntl(2)).
inline owned_fd duplicate(int fd)
{
    owned_fd copy{::fcntl(fd, F_DUPFD_CLOEXEC, 3)};
    if (!copy)
        throw std::system_error{errno, std::system_category(), "fcntl F_DUPFD_CLOEXEC"};
    return copy;
}

struct pipe_ends {
    owned_fd read;
    owned_fd write;
};

/// Makes a pipe whose ends are close-on-exec from birth. Throws std::system_error: EMFILE or ENFILE (pipe2(2)).
inline pipe_ends make_pipe()
{
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) < 0)
        throw std::system_error{errno, std::system_category(), "pipe2"};
    return {owned_fd{fds[0]}, owned_fd{fds[1]}};
}

} // namespace cofork::detail
