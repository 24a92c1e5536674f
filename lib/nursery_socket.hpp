#pragma once
// The nursery's end of the socket between it and the program.

#include "nursery_protocol.hpp"
#include "owned_fd.hpp"

#include <array>
#include <deque>

#include <sys/types.h>

namespace cofork::detail {

class nursery_socket {
public:
    explicit nursery_socket(owned_fd socket) noexcept : socket_{std::move(socket)} {}

    int descriptor() const noexcept { return socket_.get(); }
    /// For poll(2).
    short events() const noexcept;

    /// As recvmsg(2); a spawn brings the worker's two pipes.
    ssize_t receive(nursery_request& request, std::array<owned_fd, 2>& pipes) const noexcept;

    /// The parent listens only while it has calls, and a pool may have more workers than its socket holds reports: what does
    /// not fit is kept, since to wait here would keep the next worker waiting. Returns false when nothing can be told.
    [[nodiscard]] bool tell(const nursery_report& report) noexcept;
    /// What was kept, as far as there is room now.
    [[nodiscard]] bool tell_rest() noexcept;

private:
    owned_fd socket_;
    std::deque<nursery_report> untold_;
};

} // namespace cofork::detail
