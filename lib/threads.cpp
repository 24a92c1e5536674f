#include "threads.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/single_threaded.h> // glibc 2.32
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#if defined(__SANITIZE_THREAD__)
#define COFORK_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define COFORK_TSAN 1
#endif
#endif

namespace cofork::detail {
namespace {

#ifdef COFORK_TSAN
constexpr unsigned helper_threads = 1;
#else
constexpr unsigned helper_threads = 0;
#endif

struct closes_directory {
    void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

/// The start of a small file; empty when it is gone.
std::string_view read_file(int directory, const std::string& name, char (&into)[512])
{
    const int fd = ::openat(directory, name.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return {};
    const ssize_t size = ::read(fd, into, sizeof into);
    ::close(fd);
    return {into, size > 0 ? static_cast<std::size_t>(size) : 0};
}

/// Reads a thread's line of proc_pid_stat(5): "tid (name) state ppid pgrp session tty tpgid flags ...".
bool is_counted(std::string_view stat, threads_that count)
{
    constexpr unsigned exiting = 0x4;    // PF_EXITING of linux/sched.h: set before the kernel wakes who joins it
    constexpr unsigned io_worker = 0x10; // PF_IO_WORKER, Linux 5.12: such a thread has its name only once it has run
    const std::size_t name = stat.find('(');
    const std::size_t name_end = stat.rfind(')'); // the name itself may contain one
    if (name == stat.npos || name_end == stat.npos)
        return false; // the thread ended since it was listed
    const std::string_view named = stat.substr(name + 1);
    // iou-wrk-*, iou-sqp-*: threads of the process since Linux 5.12
    if (count == threads_that::can_hold_a_lock && named.starts_with("iou-"))
        return false;
    std::string_view rest = stat.substr(name_end + 1);
    for (int field = 3; field < 9; ++field)
        rest.remove_prefix(std::min(rest.find(' ', 1), rest.size()));
    rest.remove_prefix(std::min<std::size_t>(rest.size(), 1));
    unsigned flags = 0;
    std::from_chars(rest.data(), rest.data() + rest.size(), flags);
    if ((flags & exiting) != 0)
        return false;
    if ((flags & io_worker) == 0)
        return true;
    return count == threads_that::can_act && !named.starts_with("iou-wrk-"); // it has no name yet, or polls
}

} // namespace

std::optional<unsigned> count_other_threads(const char* task_directory, threads_that count)
{
    struct stat about{};
    if (::stat(task_directory, &about) < 0)
        return std::nullopt;
    // Linux counts one link for each thread besides the usual two of a directory: three means that we are alone, and
    // the list need not be read. Any other number proves nothing.
    if (about.st_nlink == 3)
        return 0;

    const std::unique_ptr<DIR, closes_directory> directory{::opendir(task_directory)};
    if (!directory)
        return std::nullopt;
    const std::string self = std::to_string(::gettid());
    unsigned others = 0;
    while (const dirent* entry = ::readdir(directory.get())) {
        if (entry->d_name[0] == '.' || entry->d_name == self)
            continue;
        char line[512];
        others += is_counted(read_file(::dirfd(directory.get()), std::string{entry->d_name} + "/stat", line), count);
    }
    return others;
}

std::optional<unsigned> other_threads(threads_that count)
{
    if (const auto others = count_other_threads("/proc/self/task", count))
        return *others - std::min(*others, helper_threads);
    // True only while no thread has been made, or the last one has been joined. The kernel's are not libc's.
    if (__libc_single_threaded && count == threads_that::can_hold_a_lock)
        return 0;
    return std::nullopt;
}

} // namespace cofork::detail
