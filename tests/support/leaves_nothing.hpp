#pragma once
// Guards that fail the test which leaves a process, a descriptor or a thread behind.

#include "catch.hpp"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __has_feature
#define TEST_HAS_FEATURE(name) __has_feature(name)
#else
#define TEST_HAS_FEATURE(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
#include <sanitizer/common_interface_defs.h>
#endif

namespace test {

/// ThreadSanitizer's is a process, with pipes, that comes with the first race, also with one that is suppressed: here it is
/// before what counts them. A name has to be asked for; for an address alone there is no need of it.
inline void start_symboliser()
{
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
    [[maybe_unused]] static const bool started = [] {
        char text[64];
        __sanitizer_symbolize_pc(__builtin_return_address(0), "%f", text, sizeof text);
        return true;
    }();
#endif
}

/// Under AddressSanitizer a fork takes tens of milliseconds, and so does a death: the tables of terabytes of shadow are copied
/// and torn down.
#if defined(__SANITIZE_ADDRESS__) || TEST_HAS_FEATURE(address_sanitizer)
inline constexpr bool forks_are_slow = true;
#else
inline constexpr bool forks_are_slow = false;
#endif

/// Asks again and again, for what no event tells; true as soon as `holds()` is.
template <typename Condition>
bool eventually(Condition holds, std::chrono::milliseconds limit = std::chrono::seconds{5})
{
    const auto end = std::chrono::steady_clock::now() + limit;
    while (!holds()) {
        if (std::chrono::steady_clock::now() >= end)
            return holds();
        const timespec moment{0, 1'000'000};
        ::nanosleep(&moment, nullptr);
    }
    return true;
}

/// ThreadSanitizer has a process of its own for names, once it has looked one up.
inline bool is_sanitizers_own([[maybe_unused]] const std::string& stat)
{
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
    return stat.find("(llvm-symbolizer)") != std::string::npos;
#else
    return false;
#endif
}

/// Processes whose parent is this one, zombies among them. Read from /proc, because waitid(2) does not count.
inline std::vector<pid_t> children()
{
    std::vector<pid_t> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc", ignored}) {
        const std::string name = entry.path().filename();
        pid_t pid = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), pid).ptr != name.data() + name.size())
            continue;
        std::ifstream file{entry.path() / "stat"}; // pid (name) state ppid ...
        std::string line;
        std::getline(file, line);
        const std::size_t name_end = line.rfind(')');
        if (name_end == std::string::npos || name_end + 4 >= line.size())
            continue; // it ended while we looked
        pid_t parent = 0;
        std::from_chars(line.data() + name_end + 4, line.data() + line.size(), parent);
        if (parent == ::getpid() && !is_sanitizers_own(line))
            found.push_back(pid);
    }
    return found;
}

inline std::ptrdiff_t open_descriptors()
{
    using std::filesystem::directory_iterator;
    return std::distance(directory_iterator{"/proc/self/fd"}, directory_iterator{});
}

inline std::ptrdiff_t threads()
{
    // ThreadSanitizer starts a thread of its own with the first one of the program, and keeps it.
#if defined(__SANITIZE_THREAD__) || TEST_HAS_FEATURE(thread_sanitizer)
    [[maybe_unused]] static const bool started = (std::thread{[] {}}.join(), true);
#endif
    using std::filesystem::directory_iterator;
    return std::distance(directory_iterator{"/proc/self/task"}, directory_iterator{});
}

/// Fails the test that ends with more children, descriptors or threads than it began with.
///
/// It waits a while for them to go: a thread is listed for a moment after it was joined, and what is reaped
/// asynchronously may be late. Declare it first, so that it looks last.
class leaves_nothing {
public:
    leaves_nothing()
    {
        start_symboliser();
        children_ = children().size();
        descriptors_ = open_descriptors();
        threads_ = threads();
    }
    leaves_nothing(const leaves_nothing&) = delete;
    leaves_nothing& operator=(const leaves_nothing&) = delete;

    ~leaves_nothing()
    {
        eventually([&] {
            return children().size() <= children_ && open_descriptors() <= descriptors_ && threads() <= threads_;
        });
        CHECK(children().size() <= children_);
        CHECK(open_descriptors() <= descriptors_);
        CHECK(threads() <= threads_);
    }

private:
    std::size_t children_;
    std::ptrdiff_t descriptors_;
    std::ptrdiff_t threads_;
};

/// While it lives, processes below this one that lose their parent become our children, as if we were init; at its end
/// they must end, and are reaped. For tests that kill a parent, the nursery, and want to know what became of its
/// children: without it nobody would see them. It also reaps children of our own that have ended, so a test that
/// looks for zombies does without it.
class no_orphans {
public:
    no_orphans() { ::prctl(PR_SET_CHILD_SUBREAPER, 1); }
    no_orphans(const no_orphans&) = delete;
    no_orphans& operator=(const no_orphans&) = delete;

    ~no_orphans()
    {
        const bool alone = eventually([] {
            while (::waitpid(-1, nullptr, WNOHANG) > 0)
                ;
            return children().empty();
        });
        CHECK(alone);
        for (const pid_t left : children()) // not to disturb the tests that follow
            ::kill(left, SIGKILL);
        while (::waitpid(-1, nullptr, 0) > 0)
            ;
        ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    }
};

} // namespace test
