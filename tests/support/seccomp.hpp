#pragma once
// System calls forbidden for real, as a container's profile does it, in a child of the test: a filter stays for ever.

#include "catch.hpp"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace test {

/// All that io_uring has: set-up, entering, registration.
inline constexpr std::array io_uring_calls{SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};

/// From now on these system calls fail with `error` in every thread of this process; false when the kernel refuses the
/// filter. Native calls only: another architecture's numbers are not looked at.
template <typename Calls>
bool forbid(const Calls& calls, int error)
{
    std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const long call : calls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        && ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

/// Runs `body` in a forked child, which must not use Catch2's assertions, and gives what it returns: the child's
/// complaint, empty when it has none. A child that is still there after a minute is killed.
template <typename Body>
std::string complaint_of_child(Body body)
{
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(60);
        std::string text;
        try {
            text = body();
        }
        catch (const std::exception& e) {
            text = std::string{"threw "} + e.what();
        }
        const bool told = ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
        ::_exit(told ? 0 : 1);
    }
    ::close(ends[1]);
    std::string text;
    char some[512];
    for (ssize_t got = 0; (got = ::read(ends[0], some, sizeof some)) > 0;)
        text.append(some, static_cast<std::size_t>(got));
    ::close(ends[0]);
    int status = -1;
    REQUIRE(child > 0);
    REQUIRE(::waitpid(child, &status, 0) == child);
    if (status != 0)
        text += " (the child ended with wait status " + std::to_string(status) + ")";
    return text;
}

} // namespace test
