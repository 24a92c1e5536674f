#include "symboliser.hpp"

#include "process.hpp"
#include "symbols.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace cofork::detail {

bool symboliser::start() noexcept
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return false;
    owned_fd ours{ends[0]};
    owned_fd theirs{ends[1]};
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0)
        return false;
    if (pid_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent)
            ::_exit(EXIT_FAILURE);
        serve(std::move(theirs));
    }
    socket_ = std::move(ours);
    return true;
}

void symboliser::serve(owned_fd socket) noexcept
{
    ::prctl(PR_SET_NAME, "cofork-symbols");
    const int fd = socket.release();
    close_others(std::array{fd});
    unblock_signals();
    symbols names;
    for (;;) {
        std::uint32_t slot = 0;
        const ssize_t got = ::recv(fd, &slot, sizeof slot, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got != sizeof slot || slot >= slots_)
            ::_exit(EXIT_SUCCESS);
        names.name(pages_[slot].crash);
        if (::send(fd, &slot, sizeof slot, MSG_NOSIGNAL) < 0)
            ::_exit(EXIT_FAILURE);
    }
}

bool symboliser::ask(std::uint32_t slot) noexcept
{
    if (!socket_ && !start())
        return false;
    return ::send(socket_.get(), &slot, sizeof slot, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof slot;
}

std::optional<std::uint32_t> symboliser::answer() noexcept
{
    std::uint32_t slot = 0;
    const ssize_t got = ::recv(socket_.get(), &slot, sizeof slot, MSG_DONTWAIT);
    if (got == sizeof slot)
        return slot;
    if (got >= 0 || (errno != EAGAIN && errno != EINTR))
        give_up(); // it has ended
    return {};
}

void symboliser::give_up() noexcept
{
    socket_.reset();
    if (pid_ > 0)
        ::kill(pid_, SIGKILL);
    pid_ = 0;
}

} // namespace cofork::detail
