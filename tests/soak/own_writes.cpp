#include "own_writes.hpp"

#include "crew_table.hpp"
#include "failing.hpp"

#include "../support/worker_side.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <optional>

#include <fcntl.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

extern "C" ssize_t __real_write(int, const void*, std::size_t);
extern "C" ssize_t __wrap_write(int, const void*, std::size_t);
extern "C" ssize_t __real_writev(int, const iovec*, int);
extern "C" ssize_t __wrap_writev(int, const iovec*, int);

namespace soak {

const crew_table* crew = nullptr;

namespace {

// Of this worker; a nursery has none of it, so neither have the workers that it forks.
int pipe_of_results = -1;
crew_entry* entry_of_mine = nullptr;
std::uint64_t writes = 0;
std::optional<std::size_t> left; // bytes until its death
bool slow = false;
constexpr std::size_t announcement = 32; // so few bytes say where some 128 KiB are (lib/large_reply.hpp)

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

/// Puts at most `size` bytes into the pipe as `put(size)` does, and as this worker's fate has it.
template <typename Put>
ssize_t put_result(std::size_t size, Put put)
{
    if (left) {
        size = std::min(size, *left);
        const ssize_t done = size > 0 ? put(size) : 0;
        *left -= done > 0 ? static_cast<std::size_t>(done) : 0;
        if (*left == 0)
            die();
        return done;
    }
    if (slow) {
        const timespec moment{0, size <= announcement ? 3'000'000 : 100'000};
        ::nanosleep(&moment, nullptr);
        return put(std::min(size, std::size_t{4096}));
    }
    if (!entry_of_mine)
        return put(size);
    if (entry_of_mine->mid_frame) {
        const ssize_t done = put(size);
        entry_of_mine->mid_frame = done != static_cast<ssize_t>(size);
        return done;
    }
    const std::uint64_t random = mix(static_cast<std::uint64_t>(::getpid()), ++writes);
    if (size < 2 || random % 2 == 0)
        return put(size);
    const ssize_t done = put(1 + (random >> 8) % (size - 1)); // write(2) may do less than it is asked
    entry_of_mine->mid_frame = done > 0;
    linger(random >> 40);
    return done;
}

/// The same of several places: `put(parts, count)`.
template <typename Put>
ssize_t put_result(const iovec* from, std::size_t count, Put put)
{
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i)
        size += from[i].iov_len;
    return put_result(size, [&](std::size_t most) {
        std::array<iovec, 4> some; // a reply's header, and its payload in three parts
        std::size_t n = 0;
        for (; n < std::min(count, some.size()) && most > 0; ++n) {
            some[n] = {from[n].iov_base, std::min(most, from[n].iov_len)};
            most -= some[n].iov_len;
        }
        return put(some.data(), n);
    });
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
    if (fd < 0 || fd != soak::pipe_of_results)
        return __real_write(fd, bytes, size);
    return soak::put_result(size, [&](std::size_t n) { return __real_write(fd, bytes, n); });
}

extern "C" ssize_t __wrap_writev(int fd, const iovec* parts, int count)
{
    if (soak::fails(soak::system_call::write))
        return -1;
    if (fd < 0 || fd != soak::pipe_of_results)
        return __real_writev(fd, parts, count);
    return soak::put_result(parts, static_cast<std::size_t>(count),
        [&](const iovec* some, std::size_t n) { return __real_writev(fd, some, static_cast<int>(n)); });
}
