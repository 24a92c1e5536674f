#include "ring.hpp"

#include "copied_descriptor.hpp"
#include "ring_probe.hpp"

#include <liburing.h>

#include <asio/bind_allocator.hpp>
#include <asio/bind_executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/prefer.hpp>
#include <asio/system_executor.hpp>

#include <algorithm>
#include <array>
#include <cassert>
#include <cerrno>
#include <cstdlib>
#include <memory_resource>
#include <string_view>
#include <utility>

namespace cofork::detail {

namespace {

constexpr unsigned entries = 512;
/// One request moves at most this much; its completion tells how much it was.
constexpr std::size_t most_bytes = std::size_t{1} << 30;
/// Set in a completion's user data when it is a cancellation's; the rest is the address of what was cancelled.
constexpr std::uint64_t cancel_mark = 1;
/// So often a turn looks for what its own submission has completed at once, before other handlers have their turn.
constexpr int most_rounds = 8;

/// The ring whose completions this thread is handing out.
thread_local const ring* turn_of = nullptr;

class turn {
public:
    explicit turn(const ring& mine) noexcept : before_{std::exchange(turn_of, &mine)} {}
    ~turn() { turn_of = before_; }
    turn(const turn&) = delete;
    turn& operator=(const turn&) = delete;

private:
    const ring* before_;
};

std::uint64_t address_of(const ring_request& request) noexcept
{
    return reinterpret_cast<std::uintptr_t>(&request);
}

} // namespace

ring::ring() : queues_{std::make_unique<::io_uring>()}
{
    const char* const wish = std::getenv("COFORK_TRANSPORT");
    if (wish && std::string_view{wish} == "reactor")
        return;
    // Cooperative (Linux 5.19): a completion waits until the thread that submitted it enters the kernel, as a loop does all
    // the time. Else that thread is interrupted, which on a virtual machine takes longer than the call.
    open_ = ::io_uring_queue_init(entries, queues_.get(), IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN) == 0 ||
            ::io_uring_queue_init(entries, queues_.get(), IORING_SETUP_CLAMP) == 0;
    if (!open_)
        return;
    watched_.reset(::fcntl(queues_->ring_fd, F_DUPFD_CLOEXEC, 3));
    queued_.reserve(*queues_->sq.kring_entries);
    // Close-on-exec does nothing for a fork: through memory that it inherits, a child could make our kernel act for it.
    const bool kept = watched_ && ::io_uring_ring_dontfork(queues_.get()) == 0;
    const ring_abilities found = kept ? probe(*queues_) : ring_abilities{};
    no_signal_ = found.no_signal;
    refused_ = !found.submits;
    if (refused_)
        close();
}

ring::~ring()
{
    assert(in_flight_ == 0 && !guests_.linked());
    close();
}

void ring::close() noexcept
{
    watched_.reset();
    if (!made_here_)
        (void)queues_.release(); // where its memory was, there may be another's by now
    else if (std::exchange(open_, false))
        ::io_uring_queue_exit(queues_.get());
}

bool ring::usable() const noexcept
{
    const std::lock_guard lock{mutex_};
    return !refused_ && made_here_;
}

/// Makes the watch, once; without one the ring is of no use.
bool ring::watch(const asio::any_io_executor& lender) noexcept
try {
    if (!watch_) {
        // Untracked: the executor stays with us, and would otherwise count as work for as long.
        watch_.emplace(asio::prefer(lender, asio::execution::outstanding_work.untracked));
        watch_->assign(watched_.get());
        (void)watched_.release();
    }
    return true;
}
catch (const std::exception&) {
    watch_.reset();
    refused_ = true;
    return false;
}

/// Waits for completions while requests are in flight, and only then: a wait is work, and run() would not return.
void ring::arm()
{
    if (!armed_ && in_flight_ > 0) {
        armed_ = true;
        // Asio sets the watch anew for each wait, and so hears of completions that came before it. The system executor
        // runs the handler where the reactor found it: the lender may be a strand, and that may be busy. An error
        // (Asio's own ring reports the end of the thread that had started the wait) is a wake like any other.
        auto wake = asio::bind_executor(asio::system_executor{}, [this](std::error_code) { on_wake(); });
        const std::pmr::polymorphic_allocator<std::byte> from{&wait_memory_};
        watch_->async_wait(asio::posix::stream_descriptor::wait_read, asio::bind_allocator(from, std::move(wake)));
    } else if (armed_ && in_flight_ == 0) {
        watch_->cancel();
    }
}

void ring::on_wake() noexcept
{
    if (!made_here_)
        return;
    const turn here{*this};
    std::unique_lock lock{mutex_};
    armed_ = false;
    std::array<finished, 64> batch;
    for (int round = 0; round < most_rounds; ++round) {
        const std::size_t count = reap(batch);
        if (count == 0)
            break;
        arm(); // at once: the callbacks may take their time, and other threads may run the context
        lock.unlock();
        for (const finished& each : std::span{batch}.first(count)) {
            if (each.abandoned)
                delete each.request;
            else
                each.request->done(each.result);
        }
        lock.lock();
        submit();
    }
    submit(); // cancellations that reap() repeats
    arm();
}

bool ring::start(ring_request& request, const asio::any_io_executor& lender, bool another_follows) noexcept
{
    const std::lock_guard lock{mutex_};
    if (refused_ || !made_here_ || !watch(lender))
        return false;
    ::io_uring_sqe* const sqe = next_sqe();
    if (!sqe)
        return false;
    const auto size = static_cast<unsigned>(std::min(request.bytes.size(), most_bytes));
    if (request.reads)
        ::io_uring_prep_read(sqe, request.fd, request.bytes.data(), size, ~std::uint64_t{0});
    else
        ::io_uring_prep_write(sqe, request.fd, request.bytes.data(), size, ~std::uint64_t{0});
    if (!request.reads && no_signal_)
        sqe->rw_flags = rwf_nosignal;
    sqe->user_data = address_of(request);
    request.cancelling_ = false;
    request.insert_before(requests_);
    ++in_flight_;
    queued_.push_back(&request);
    if (turn_of != this && !another_follows)
        submit();
    arm();
    return true;
}

std::optional<int> ring::take_result(ring_request& request) noexcept
{
    const std::lock_guard lock{mutex_};
    ::io_uring_cqe* cqe = nullptr;
    if (!open_ || !made_here_ || !request.linked() || ::io_uring_peek_cqe(queues_.get(), &cqe) != 0
        || cqe->user_data != address_of(request))
        return {};
    const int result = cqe->res;
    ::io_uring_cqe_seen(queues_.get(), cqe);
    unlink(request);
    arm(); // nothing may be left to wait for
    return result;
}

::io_uring_sqe* ring::next_sqe() noexcept
{
    ::io_uring_sqe* sqe = refused_ ? nullptr : ::io_uring_get_sqe(queues_.get());
    if (!sqe && !refused_) { // the queue is full
        submit();
        sqe = refused_ ? nullptr : ::io_uring_get_sqe(queues_.get());
    }
    return sqe;
}

void ring::cancel(ring_request& request) noexcept
{
    const std::lock_guard lock{mutex_};
    if (!request.linked() || !made_here_)
        return;
    request.cancelling_ = true;
    if (refused_)
        return request.cancel_refused();
    queue_cancel(request); // behind the request itself, should that still be queued
    if (turn_of != this)
        submit();
    arm();
}

void ring::queue_cancel(ring_request& request) noexcept
{
    if (::io_uring_sqe* const sqe = next_sqe()) {
        ::io_uring_prep_cancel64(sqe, address_of(request), 0);
        sqe->user_data = address_of(request) | cancel_mark;
        queued_.push_back(nullptr);
    }
}

/// A request that was between two waits when the kernel looked for it was not found, and waits again now.
void ring::cancel_again(std::uint64_t address) noexcept
{
    for (list_hook* at = requests_.next(); at != &requests_; at = at->next()) {
        auto& request = static_cast<ring_request&>(*at);
        if (address_of(request) == address && request.cancelling_)
            return queue_cancel(request);
    }
}

void ring::submit() noexcept
{
    while (!queued_.empty()) {
        const int taken = ::io_uring_submit(queues_.get());
        if (taken == -EINTR)
            continue;
        if (taken <= 0)
            return refuse();
        queued_.erase(queued_.begin(), queued_.begin() + taken);
    }
}

/// Nothing goes in any more: a filter was installed, or the kernel is short of memory. What it holds still completes.
void ring::refuse() noexcept
{
    refused_ = true;
    for (ring_request* const request : std::exchange(queued_, {})) {
        if (request) {
            unlink(*request);
            request->done(ring_request::not_taken);
        }
    }
    for (list_hook* at = requests_.next(); at != &requests_; at = at->next())
        if (auto& request = static_cast<ring_request&>(*at); request.cancelling_)
            request.cancel_refused();
    arm();
}

std::size_t ring::reap(std::span<finished> into) noexcept
{
    std::size_t count = 0;
    ::io_uring_cqe* cqe = nullptr;
    while (open_ && count < into.size() && ::io_uring_peek_cqe(queues_.get(), &cqe) == 0) {
        const std::uint64_t tag = cqe->user_data;
        const int result = cqe->res;
        ::io_uring_cqe_seen(queues_.get(), cqe);
        if (tag & cancel_mark) {
            if (result == -ENOENT)
                cancel_again(tag & ~cancel_mark);
            continue;
        }
        auto* const request = reinterpret_cast<ring_request*>(tag); // NOLINT(performance-no-int-to-ptr)
        const bool abandoned = take_abandoned(request).release() != nullptr;
        if (!abandoned)
            unlink(*request);
        into[count++] = {request, result, abandoned};
    }
    return count;
}

void ring::unlink(ring_request& request) noexcept
{
    request.unlink();
    --in_flight_;
}

std::shared_ptr<void> ring::abandon(std::unique_ptr<ring_request>& request) noexcept
{
    const std::lock_guard lock{mutex_};
    if (!request->linked() || completion_waits(*request))
        return nullptr;
    unlink(*request);
    request->owner.reset(); // never its last one: the owner is our caller
    std::shared_ptr<void> keeper = request->keeper;
    abandoned_.push_back(std::move(request));
    arm();
    return keeper;
}

bool ring::completion_waits(const ring_request& request) const noexcept
{
    unsigned head = 0;
    ::io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(queues_.get(), head, cqe)
        if (cqe->user_data == address_of(request))
            return true;
    return false;
}

std::unique_ptr<ring_request> ring::take_abandoned(const ring_request* request) noexcept
{
    const auto at = std::find_if(
        abandoned_.begin(), abandoned_.end(), [&](const auto& each) { return each.get() == request; });
    if (at == abandoned_.end())
        return nullptr;
    auto taken = std::move(*at);
    abandoned_.erase(at);
    return taken;
}

const std::shared_ptr<ring>& ring_of(asio::execution_context& context)
{
    return asio::use_service<ring_service>(context).shared();
}

} // namespace cofork::detail
