#include "ring_probe.hpp"

#include "owned_fd.hpp"

#include <liburing.h>

#include <system_error>

namespace cofork::detail {

ring_abilities probe(::io_uring& queues) noexcept
try {
    const pipe_ends pipe = make_pipe();
    ::io_uring_prep_nop(::io_uring_get_sqe(&queues));
    ::io_uring_sqe* const sqe = ::io_uring_get_sqe(&queues);
    ::io_uring_prep_write(sqe, pipe.write.get(), "", 0, 0);
    sqe->rw_flags = rwf_nosignal; // EOPNOTSUPP where it is not known
    sqe->user_data = 1;
    if (::io_uring_submit_and_wait(&queues, 2) != 2)
        return {};
    ring_abilities found;
    ::io_uring_cqe* cqe = nullptr;
    int seen = 0;
    for (; ::io_uring_peek_cqe(&queues, &cqe) == 0; ++seen) {
        if (cqe->user_data == 1)
            found.no_signal = cqe->res == 0;
        ::io_uring_cqe_seen(&queues, cqe);
    }
    found.submits = seen == 2;
    return found;
}
catch (const std::system_error&) {
    return {}; // not even a pipe can be had
}

} // namespace cofork::detail
