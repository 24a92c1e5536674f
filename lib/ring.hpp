#pragma once
// io_uring inside the user's event loop: one ring per execution context. The only files that name liburing are ring.*.

#include "owned_fd.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>

#include <cstddef>
#include <memory>

namespace cofork::detail {

/// One request. The kernel holds its address until the completion, so it never moves and outlives it.
class ring_op {
public:
    ring_op() = default;
    ring_op(const ring_op&) = delete;
    ring_op& operator=(const ring_op&) = delete;

    /// Called once per accepted request, on a thread that runs the context and with no lock held. `res` is the
    /// kernel's: bytes moved, or a negated errno; -ECANCELED only when it was asked for.
    virtual void complete(int res) noexcept = 0;
    /// The kernel refuses requests by now (a filter): this one was not accepted after all.
    virtual void refused() noexcept = 0;
    /// The context is being destroyed: let go of everything, call nobody.
    virtual void drop() noexcept = 0;

protected:
    ~ring_op() = default;

private:
    friend class ring_service;
    ring_op* next_ = nullptr; // in the list of those in flight
    ring_op* previous_ = nullptr;
    int fd_ = -1;
    void* buffer_ = nullptr;
    unsigned size_ = 0;
    bool writes_ = false;
    bool queued_ = false;    // not yet seen by the kernel
    bool cancelled_ = false; // asked for
};

/// The ring of one execution context. Any thread.
///
/// Plain flags: DEFER_TASKRUN never wakes a poll on the ring's descriptor, and SINGLE_ISSUER binds it to a thread, while
/// nobody knows which thread will run the context.
class ring_service final : public asio::execution_context::service {
public:
    using key_type = ring_service;
    static asio::execution_context::id id;

    explicit ring_service(asio::execution_context& context);
    ~ring_service() override;

    /// The ring of an executor's context. The first caller lends its executor for the wait on the ring.
    static ring_service& of(const asio::any_io_executor& ex);

    /// Whether requests are accepted: the kernel has io_uring, no filter forbids it, COFORK_TRANSPORT is not "reactor".
    bool usable(const asio::any_io_executor& ex);

    /// False when the ring takes no requests (any more): then nothing was started.
    bool read(ring_op& op, int fd, void* into, std::size_t size) { return start(op, fd, into, size, false); }
    bool write(ring_op& op, int fd, const void* from, std::size_t size) { return start(op, fd, const_cast<void*>(from), size, true); }

    /// Asks for the end of a request, which then completes. False when the kernel cannot be asked: then it completes
    /// when it likes, and op and buffer must live until the context ends.
    bool cancel(ring_op& op);

    /// Hands over what was started and not yet told to the kernel. Before a descriptor is closed: a queued request
    /// would hit the next owner of its number.
    void flush();

private:
    class impl;

    bool start(ring_op& op, int fd, void* buffer, std::size_t size, bool writes);
    void shutdown() noexcept override;

    std::unique_ptr<impl> impl_;
};

} // namespace cofork::detail
