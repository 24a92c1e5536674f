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

/// In every thread of this process, for ever; false when the kernel refuses it.
inline bool add_filter(std::vector<sock_filter>& program)
{
    const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
        && ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter) == 0;
}

/// From now on these system calls fail with `error`; with 0 they do nothing, and say that all went well. False when the kernel
/// refuses the filter. Native calls only: another architecture's numbers are not looked at.
template <typename Calls>
bool forbid(const Calls& calls, int error)
{
    std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
    for (const long call : calls) {
        program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
        program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)));
    }
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    return add_filter(program);
}

/// From now on every process seems to be in reach of kill(2), for who only asks, by signal 0.
inline bool pretend_to_reach_all()
{
    std::vector<sock_filter> program{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, std::uint32_t{SYS_kill}, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + sizeof(std::uint64_t)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return add_filter(program);
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
