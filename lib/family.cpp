#include "family.hpp"

#include "owned_fd.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

/// The kernel lists our children by number; those that are not workers came to us when their parent died.
void kill_adopted() noexcept
{
    char text[4096];
    const owned_fd list{::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC)};
    const ssize_t got = list ? ::read(list.get(), text, sizeof text - 1) : -1;
    if (got <= 0)
        return;
    text[got] = '\0';
    for (char* next = text; *next != '\0';) {
        char* end = nullptr;
        const long pid = std::strtol(next, &end, 10);
        if (end == next)
            return;
        if (pid > 1)
            ::kill(static_cast<pid_t>(pid), SIGKILL);
        next = end + (*end == ' ' ? 1 : 0);
    }
}

} // namespace

void kill_family(pid_t pid) noexcept
{
    ::kill(-pid, SIGKILL);
    ::kill(pid, SIGKILL);
}

void end_all_children() noexcept
{
    kill_adopted();
    siginfo_t info{};
    while (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0 || errno == EINTR) {
        if (info.si_pid != 0) {
            kill_family(info.si_pid);
            ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED);
        }
        info = {};
        kill_adopted();
    }
}

} // namespace cofork::detail
