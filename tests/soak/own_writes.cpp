#include "own_writes.hpp"

#include "crew_table.hpp"
#include "failing.hpp"

#include "../support/worker_side.hpp"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <optional>

#include <fcntl.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

extern "C" ssize_t __real_write(int, const void*, std::size_t);
extern "C" ssize_t __wrap_write(int, const void*, std::size_t);

namespace soak {

const crew_table* crew = nullptr;

namespace {

// Of this worker; a nursery has none of it, so neither have the workers that it forks.
int pipe_of_results = -1;
crew_entry* entry_of_mine = nullptr;
std::uint64_t writes = 0;
std::optional<std::size_t> left; // bytes until its death
bool slow = false;

void find_pipe()
{
    if (pipe_of_results < 0)
        pipe_of_results = test::own_pipe(O_WRONLY);
}

[[noreturn]] void die()
{
    for (;;)
        ::kill(::getpid(), SIGKILL);
}

/// One write in eight is as slow as one whose process has lost its turn between two pages.
void linger(std::uint64_t random)
{
    const timespec moment{0, 300'000};
    if (random % 8 == 0)
        ::nanosleep(&moment, nullptr);
}

ssize_t write_result(int fd, const void* bytes, std::size_t size)
{
    if (left) {
        size = std::min(size, *left);
        const ssize_t put = size > 0 ? __real_write(fd, bytes, size) : 0;
        *left -= put > 0 ? static_cast<std::size_t>(put) : 0;
        if (*left == 0)
            die();
        return put;
    }
    if (slow) {
        const timespec moment{0, 100'000};
        ::nanosleep(&moment, nullptr);
        return __real_write(fd, bytes, std::min(size, std::size_t{4096}));
    }
    if (!entry_of_mine)
        return __real_write(fd, bytes, size);
    if (entry_of_mine->mid_frame) {
        const ssize_t put = __real_write(fd, bytes, size);
        entry_of_mine->mid_frame = put != static_cast<ssize_t>(size);
        return put;
    }
    const std::uint64_t random = mix(static_cast<std::uint64_t>(::getpid()), ++writes);
    if (size < 2 || random % 2 == 0)
        return __real_write(fd, bytes, size);
    const ssize_t put = __real_write(fd, bytes, 1 + (random >> 8) % (size - 1)); // write(2) may do less than it is asked
    entry_of_mine->mid_frame = put > 0;
    linger(random >> 40);
    return put;
}

} // namespace

void enlist()
{
    if (entry_of_mine || !crew)
        return;
    find_pipe();
    crew_entry& mine = crew->of(::getpid());
    mine.mid_frame = false;
    mine.pid = ::getpid();
    entry_of_mine = &mine;
}

void die_after(std::size_t bytes)
{
    find_pipe();
    left = bytes;
}

void write_slowly()
{
    find_pipe();
    slow = true;
}

} // namespace soak

extern "C" ssize_t __wrap_write(int fd, const void* bytes, std::size_t size)
{
    if (soak::fails(soak::system_call::write))
        return -1;
    if (fd >= 0 && fd == soak::pipe_of_results)
        return soak::write_result(fd, bytes, size);
    return __real_write(fd, bytes, size);
}
