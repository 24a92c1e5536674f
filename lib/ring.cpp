#include "ring.hpp"

#include <asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include <liburing.h>

namespace cofork::detail {

namespace {

constexpr unsigned entries = 256;
/// Completions that one wake-up takes before it looks at the lock again.
constexpr unsigned drain_batch = 64;
constexpr unsigned most_busy = 1000;

thread_local const void* draining_here = nullptr; // the ring whose completions this thread delivers

} // namespace

asio::execution_context::id ring_service::id;

class ring_service::impl {
public:
    ~impl()
    {
        if (open_)
            ::io_uring_queue_exit(&ring_);
    }

    bool open(const asio::any_io_executor& ex)
    {
        const std::lock_guard lock{mutex_};
        if (!tried_) {
            tried_ = true;
            usable_ = wanted() && set_up(ex);
        }
        return usable_;
    }

    bool start(ring_op& op)
    {
        std::vector<ring_op*> refused;
        bool accepted = false;
        {
            const std::lock_guard lock{mutex_};
            accepted = usable_ && queue(op, refused);
            if (accepted) {
                link(op);
                op.cancelled_ = false;
                if (draining_here != this)
                    submit(refused); // inside a drain all are submitted together, at its end
                watch();
            }
        }
        tell_refused(refused);
        return accepted;
    }

    bool cancel(ring_op& op)
    {
        std::vector<ring_op*> refused;
        bool asked = false;
        {
            const std::lock_guard lock{mutex_};
            op.cancelled_ = true;
            if (usable_ && submit(refused)) {
                if (io_uring_sqe* const sqe = next_sqe(refused)) {
                    ::io_uring_prep_cancel(sqe, &op, 0);
                    ::io_uring_sqe_set_data(sqe, nullptr);
                    asked = submit(refused);
                }
            }
        }
        const bool was_refused = std::find(refused.begin(), refused.end(), &op) != refused.end();
        tell_refused(refused);
        return asked || was_refused;
    }

    void flush()
    {
        std::vector<ring_op*> refused;
        {
            const std::lock_guard lock{mutex_};
            if (usable_)
                submit(refused);
        }
        tell_refused(refused);
    }

    /// The context goes: ends what is in flight in the kernel, then lets go of the operations.
    void shut_down() noexcept
    {
        std::vector<ring_op*> left;
        {
            const std::lock_guard lock{mutex_};
            wait_.reset();
            if (open_)
                cancel_everything();
            usable_ = false;
            for (ring_op* op = first_; op;) {
                left.push_back(op);
                op = std::exchange(op->next_, nullptr);
            }
            first_ = nullptr;
            if (open_)
                ::io_uring_queue_exit(&ring_);
            open_ = false;
        }
        for (ring_op* const op : left)
            op->drop();
    }

private:
    static bool wanted()
    {
        const char* const wish = std::getenv("COFORK_TRANSPORT");
        return !wish || std::string_view{wish} != "reactor";
    }

    /// Set-up alone proves nothing: a filter may allow it and forbid io_uring_enter(2).
    bool set_up(const asio::any_io_executor& ex)
    {
        io_uring_params params{};
        params.flags = IORING_SETUP_CLAMP;
        if (::io_uring_queue_init_params(entries, &ring_, &params) < 0)
            return false;
        open_ = true;
        // Its memory must not reach a child: through it the child could make our kernel do things (see process.hpp).
        if (::io_uring_ring_dontfork(&ring_) < 0 || !answers_nop())
            return false;
        owned_fd copy{::fcntl(ring_.ring_fd, F_DUPFD_CLOEXEC, 3)};
        if (!copy)
            return false;
        wait_.emplace(ex);
        asio::error_code ec;
        wait_->assign(copy.get(), ec);
        if (!ec)
            (void)copy.release();
        return !ec;
    }

    bool answers_nop()
    {
        io_uring_sqe* const sqe = ::io_uring_get_sqe(&ring_);
        ::io_uring_prep_nop(sqe);
        if (::io_uring_submit_and_wait(&ring_, 1) < 0)
            return false;
        io_uring_cqe* cqe = nullptr;
        if (::io_uring_peek_cqe(&ring_, &cqe) != 0)
            return false;
        const bool fine = cqe->res == 0;
        ::io_uring_cqe_seen(&ring_, cqe);
        return fine;
    }

    void link(ring_op& op) noexcept
    {
        op.previous_ = nullptr;
        op.next_ = first_;
        if (first_)
            first_->previous_ = &op;
        first_ = &op;
    }
    void unlink(ring_op& op) noexcept
    {
        (op.previous_ ? op.previous_->next_ : first_) = op.next_;
        if (op.next_)
            op.next_->previous_ = op.previous_;
        op.next_ = op.previous_ = nullptr;
    }

    io_uring_sqe* next_sqe(std::vector<ring_op*>& refused)
    {
        io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
        if (!sqe && submit(refused)) // the queue was full
            sqe = ::io_uring_get_sqe(&ring_);
        return sqe;
    }

    bool queue(ring_op& op, std::vector<ring_op*>& refused)
    {
        io_uring_sqe* const sqe = next_sqe(refused);
        if (!sqe)
            return false;
        if (op.writes_)
            ::io_uring_prep_write(sqe, op.fd_, op.buffer_, op.size_, 0);
        else
            ::io_uring_prep_read(sqe, op.fd_, op.buffer_, op.size_, 0);
        ::io_uring_sqe_set_data(sqe, &op);
        op.queued_ = true;
        queued_.push_back(&op);
        return true;
    }

    /// Tells the kernel what is queued. When it refuses, it will not be asked again: what it has not taken is refused.
    bool submit(std::vector<ring_op*>& refused)
    {
        for (unsigned busy = 0; ::io_uring_sq_ready(&ring_) > 0;) {
            const int taken = ::io_uring_submit(&ring_);
            // Out of memory, or of room for completions (io_uring_enter(2)): it passes, or the reactor has to do.
            if ((taken == -EAGAIN || taken == -EBUSY || taken == -EINTR) && ++busy < most_busy)
                continue;
            if (taken <= 0) {
                usable_ = false;
                break;
            }
        }
        // Taken in the order of the queue; after a refusal nobody knows how far, so the ring's own head says.
        const std::size_t left = usable_ ? 0 : ::io_uring_sq_ready(&ring_);
        for (std::size_t i = 0; i < queued_.size(); ++i) {
            queued_[i]->queued_ = false;
            if (i + left >= queued_.size()) {
                unlink(*queued_[i]);
                refused.push_back(queued_[i]);
            }
        }
        queued_.clear();
        return usable_;
    }

    static void tell_refused(const std::vector<ring_op*>& refused)
    {
        for (ring_op* const op : refused)
            op->refused();
    }

    /// Armed only while something is in flight: else the context would never run out of work.
    void watch()
    {
        if (watching_ || !first_ || !wait_)
            return;
        watching_ = true;
        wait_->async_wait(asio::posix::stream_descriptor::wait_read, [this](std::error_code ec) {
            if (!ec)
                drain();
            else {
                const std::lock_guard lock{mutex_};
                watching_ = false;
            }
        });
    }

    struct completion {
        ring_op* op;
        int res;
    };

    void drain()
    {
        const void* const outer = std::exchange(draining_here, this);
        std::array<completion, drain_batch> taken;
        std::vector<ring_op*> refused;
        for (unsigned n = drain_batch; n == drain_batch;) {
            n = take(taken, refused);
            for (unsigned i = 0; i < n; ++i)
                taken[i].op->complete(taken[i].res);
        }
        draining_here = outer;
        {
            const std::lock_guard lock{mutex_};
            if (usable_)
                submit(refused);
            watching_ = false;
            watch();
        }
        tell_refused(refused);
    }

    unsigned take(std::array<completion, drain_batch>& into, std::vector<ring_op*>& refused)
    {
        const std::lock_guard lock{mutex_};
        unsigned n = 0;
        io_uring_cqe* cqe = nullptr;
        while (n < into.size() && open_ && ::io_uring_peek_cqe(&ring_, &cqe) == 0) {
            auto* const op = static_cast<ring_op*>(::io_uring_cqe_get_data(cqe));
            const int res = cqe->res;
            ::io_uring_cqe_seen(&ring_, cqe);
            if (!op)
                continue; // the answer to a cancel request
            // A thread that submitted and has ended takes its requests with it (-ECANCELED): nobody asked for that.
            const bool again = (res == -ECANCELED && !op->cancelled_) || res == -EINTR || res == -EAGAIN;
            if (again && usable_ && queue(*op, refused))
                continue;
            unlink(*op);
            into[n++] = {op, again ? -ECONNABORTED : res};
        }
        return n;
    }

    void cancel_everything() noexcept
    {
        ::io_uring_submit(&ring_);
        io_uring_sync_cancel_reg all{}; // Linux 6.0; before it, closing the ring has to do
        all.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
        all.timeout.tv_sec = -1;
        all.timeout.tv_nsec = -1;
        ::io_uring_register_sync_cancel(&ring_, &all);
    }

    std::mutex mutex_;
    io_uring ring_{};
    bool tried_ = false;
    bool open_ = false;
    bool usable_ = false;
    bool watching_ = false;
    std::optional<asio::posix::stream_descriptor> wait_; // on a copy of the ring's descriptor
    ring_op* first_ = nullptr;                           // all in flight
    std::vector<ring_op*> queued_;                       // of these, not yet told to the kernel
};

ring_service::ring_service(asio::execution_context& context) : service{context}, impl_{std::make_unique<impl>()} {}
ring_service::~ring_service() = default;

ring_service& ring_service::of(const asio::any_io_executor& ex)
{
    return asio::use_service<ring_service>(asio::query(ex, asio::execution::context));
}

bool ring_service::usable(const asio::any_io_executor& ex)
{
    return impl_->open(ex);
}

bool ring_service::start(ring_op& op, int fd, void* buffer, std::size_t size, bool writes)
{
    op.fd_ = fd;
    op.buffer_ = buffer;
    op.size_ = static_cast<unsigned>(std::min<std::size_t>(size, 1u << 30));
    op.writes_ = writes;
    return impl_->start(op);
}

bool ring_service::cancel(ring_op& op)
{
    return impl_->cancel(op);
}

void ring_service::flush()
{
    impl_->flush();
}

void ring_service::shutdown() noexcept
{
    impl_->shut_down();
}

} // namespace cofork::detail
