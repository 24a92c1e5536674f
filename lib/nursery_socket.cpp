#include "nursery_socket.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/socket.h>

namespace cofork::detail {

short nursery_socket::events() const noexcept
{
    return untold_.empty() ? POLLIN : POLLIN | POLLOUT;
}

ssize_t nursery_socket::receive(nursery_request& request, std::array<owned_fd, 2>& pipes) const noexcept
{
    iovec data{&request, sizeof request};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
    const cmsghdr* const part = got < 0 ? nullptr : CMSG_FIRSTHDR(&message);
    if (part && part->cmsg_type == SCM_RIGHTS) {
        int fds[2] = {-1, -1};
        std::memcpy(fds, CMSG_DATA(part), std::min<std::size_t>(part->cmsg_len - CMSG_LEN(0), sizeof fds));
        pipes[0].reset(fds[0]);
        pipes[1].reset(fds[1]);
    }
    return got;
}

bool nursery_socket::tell(const nursery_report& report) noexcept
{
    untold_.push_back(report);
    return untold_.size() > 1 || tell_rest();
}

bool nursery_socket::tell_rest() noexcept
{
    while (!untold_.empty()) {
        if (::send(socket_.get(), &untold_.front(), sizeof untold_.front(), MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            untold_.pop_front();
        else if (errno == EAGAIN)
            return true;
        else if (errno != EINTR)
            return false;
    }
    return true;
}

} // namespace cofork::detail
