#pragma once
// One io_uring for each execution context, watched by the context's own loop.

#include "one_block.hpp"
#include "owned_fd.hpp"
#include "process.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

struct io_uring;     // <liburing.h>
struct io_uring_sqe;

namespace cofork::detail {

/// A place in a circular list; alone when it points to itself.
class list_hook {
public:
    list_hook() = default;
    list_hook(const list_hook&) = delete;
    list_hook& operator=(const list_hook&) = delete;

    bool linked() const noexcept { return next_ != this; }
    list_hook* next() const noexcept { return next_; }
    void insert_before(list_hook& other) noexcept
    {
        next_ = &other;
        previous_ = other.previous_;
        previous_->next_ = other.previous_ = this;
    }
    void unlink() noexcept
    {
        previous_->next_ = next_;
        next_->previous_ = previous_;
        next_ = previous_ = this;
    }

protected:
    ~list_hook() = default;

private:
    list_hook* next_ = this;
    list_hook* previous_ = this;
};

/// One read or write. The kernel holds its address until the completion, so it never moves.
class ring_request : public list_hook {
public:
    /// Result of a request that the kernel never saw: somebody else has to carry it out.
    static constexpr int not_taken = 1 << 31;

    virtual ~ring_request() = default;

    /// Ends the request, once. `result` is the kernel's, bytes moved or a negated errno, or `not_taken`, and then it
    /// must not call anybody before it returns.
    virtual void done(int result) noexcept = 0;
    /// The kernel does not take the cancellation that was asked for. Must not call anybody before it returns.
    virtual void cancel_refused() noexcept = 0;

    bool reads = true;
    int fd = -1;
    std::span<std::byte> bytes;
    std::shared_ptr<void> owner;  // of this object; the ring lets go of it without done() when the context ends
    std::shared_ptr<void> keeper; // of the bytes; must live as long as the kernel may touch them

private:
    friend class ring;
    bool cancelling_ = false;
};

/// Something that must let go of its context before the context ends.
class ring_guest : public list_hook {
public:
    /// Returns what may not outlive the context; it is destroyed outside all locks.
    virtual std::shared_ptr<void> forsake() noexcept = 0;

protected:
    ~ring_guest() = default;
};

/// The queues, and the watch that turns completions into turns of the context's loop.
///
/// Thread-safe. Its flags are the plain ones: a ring with DEFER_TASKRUN does not wake epoll, and SINGLE_ISSUER is for
/// one thread, which we cannot know to be the only one that runs the context. Outlives the context in the hands of its
/// guests, shut down.
class ring {
public:
    /// Sets up, and tries out by a submission; usable() tells how that went.
    ring();
    ~ring();
    ring(const ring&) = delete;
    ring& operator=(const ring&) = delete;

    /// Whether requests are taken at this moment. Never true again after false.
    bool usable() const noexcept;

    /// Starts a request; false when the ring does not take requests (any more), and nothing was started. `lender` is
    /// any executor of the context. A request that is made by a done() goes to the kernel at the end of this turn of
    /// the loop, together with all others of the turn; one with `another_follows` together with the next one.
    bool start(ring_request& request, const asio::any_io_executor& lender, bool another_follows = false) noexcept;
    /// The result of a request that is over already; then no done() comes. Saves a turn of the loop, where it can be had
    /// without one: empty says nothing.
    std::optional<int> take_result(ring_request& request) noexcept;
    /// Asks the kernel to end a request early; done() tells how it ended. Nothing, when it has ended already.
    void cancel(ring_request& request) noexcept;
    /// Gives up on a request whose cancellation was refused: no done() comes, and the ring keeps the object and its
    /// keeper until the kernel has let go of them. Returns the keeper; null when done() is on its way already.
    std::shared_ptr<void> abandon(std::unique_ptr<ring_request>& request) noexcept;

    void join(ring_guest& guest) noexcept
    {
        const std::lock_guard lock{mutex_};
        guest.insert_before(guests_);
    }
    void leave(ring_guest& guest) noexcept
    {
        const std::lock_guard lock{mutex_};
        guest.unlink();
    }

    /// The context ends: takes everything back from the kernel, and drops it.
    void shutdown() noexcept;

private:
    /// Nothing is done to make one: there is room for many, and as a rule one comes.
    struct finished {
        ring_request* request;
        int result;
        bool abandoned; ///< and to be deleted
    };

    void close() noexcept;
    bool watch(const asio::any_io_executor& lender) noexcept;
    void arm();
    void on_wake() noexcept;
    ::io_uring_sqe* next_sqe() noexcept;
    void queue_cancel(ring_request& request) noexcept;
    void submit() noexcept;
    void refuse() noexcept;
    std::size_t reap(std::span<finished> into) noexcept;
    void cancel_again(std::uint64_t address) noexcept;
    std::unique_ptr<ring_request> take_abandoned(const ring_request* request) noexcept;
    bool completion_waits(const ring_request& request) const noexcept;
    void unlink(ring_request& request) noexcept;
    void recall(std::vector<std::shared_ptr<void>>& dropped);
    void take_from_kernel(std::vector<std::shared_ptr<void>>& dropped);

    struct list : list_hook {};

    made_here made_here_;
    mutable std::mutex mutex_;
    std::unique_ptr<::io_uring> queues_; // in a fork of this process its memory is not there
    owned_fd watched_; // the ring's descriptor again: Asio closes what it watches
    bool open_ = false;
    bool refused_ = true;
    bool no_signal_ = false; // the kernel knows RWF_NOSIGNAL
    std::optional<asio::posix::stream_descriptor> watch_;
    one_block<256> wait_memory_;        // of its wait
    bool armed_ = false;                // a wait is pending, or its handler is on its way
    list requests_;                     // queued, or with the kernel
    std::size_t in_flight_ = 0;         // in requests_
    std::vector<ring_request*> queued_; // made, not submitted, in the order of the queue; null for a cancellation
    std::vector<std::unique_ptr<ring_request>> abandoned_;
    list guests_;
};

/// Ties a ring to the life of its context.
class ring_service : public asio::execution_context::service {
public:
    using key_type = ring_service;
    inline static asio::execution_context::id id;

    explicit ring_service(asio::execution_context& context) : service{context}, ring_{std::make_shared<ring>()} {}
    const std::shared_ptr<ring>& shared() const noexcept { return ring_; }

private:
    void shutdown() noexcept override { ring_->shutdown(); }

    std::shared_ptr<ring> ring_;
};

/// The context's ring, made and tried out at the first call.
const std::shared_ptr<ring>& ring_of(asio::execution_context& context);

} // namespace cofork::detail
