#pragma once
// An end of a pipe in the worker.

#include "crash_handler.hpp"

#include <cstdlib>

#include <sys/stat.h>
#include <unistd.h>

namespace cofork::detail {

/// An end of a pipe that f must leave alone, and sometimes does not: what goes into another file would be lost without a
/// word, and the parent would wait for it.
class own_pipe {
public:
    explicit own_pipe(int fd) noexcept : fd_{fd}, inode_{inode()} {}

    int number() const noexcept { return fd_; }

    void check() const noexcept
    {
        if (inode() == inode_)
            return;
        note_reason("f has closed or replaced the descriptors of its worker");
        ::_exit(EXIT_FAILURE);
    }

private:
    ino_t inode() const noexcept
    {
        struct stat now {};
        return ::fstat(fd_, &now) == 0 ? now.st_ino : 0;
    }

    int fd_;
    ino_t inode_;
};

} // namespace cofork::detail
