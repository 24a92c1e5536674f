// The end of a ring: what the kernel still holds comes back, or its memory stays for ever.

#include "ring.hpp"

#include "copied_descriptor.hpp"

#include <liburing.h>

#include <array>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace cofork::detail {

namespace {

constexpr std::chrono::seconds shutdown_patience{1};

/// Keeps, for ever, what the kernel may still write to: it could not be made to say that it has let go.
void park(std::shared_ptr<void> bytes)
{
    static auto& mutex = *new std::mutex;
    static auto& parked = *new std::vector<std::shared_ptr<void>>;
    const std::lock_guard lock{mutex};
    parked.push_back(std::move(bytes));
}

} // namespace

void ring::shutdown() noexcept
{
    std::vector<std::shared_ptr<void>> dropped; // destroyed without the lock: the destructors may come back here
    const std::lock_guard lock{mutex_};
    recall(dropped);
    if (watch_ && !made_here_)
        close_copy(*watch_);
    watch_.reset();
    close();
    refused_ = true;
    while (guests_.linked()) {
        auto& guest = static_cast<ring_guest&>(*guests_.next());
        guest.unlink();
        dropped.push_back(guest.forsake());
    }
}

/// Takes all requests back, without completing them.
void ring::recall(std::vector<std::shared_ptr<void>>& dropped)
{
    assert(queued_.empty()); // every turn submits at its end
    if (open_ && made_here_)
        take_from_kernel(dropped);
    while (requests_.linked()) {
        auto& request = static_cast<ring_request&>(*requests_.next());
        unlink(request);
        dropped.push_back(std::move(request.owner));
        park(std::move(request.keeper));
    }
    for (const auto& request : std::exchange(abandoned_, {}))
        park(std::move(request->keeper));
}

void ring::take_from_kernel(std::vector<std::shared_ptr<void>>& dropped)
{
    ::io_uring_sync_cancel_reg all{};
    all.flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL;
    all.timeout.tv_sec = shutdown_patience.count();
    const bool any = in_flight_ > 0 || !abandoned_.empty();
    const int answer = any ? ::io_uring_register_sync_cancel(queues_.get(), &all) : 0; // Linux 6.0
    // Where it is refused, only what has completed by now can be taken back.
    const bool asked = answer == 0 || answer == -ENOENT || answer == -ETIME;

    std::array<finished, 64> batch;
    const auto end = std::chrono::steady_clock::now() + shutdown_patience;
    while (in_flight_ > 0 || !abandoned_.empty()) {
        const std::size_t count = reap(batch);
        for (const finished& each : std::span{batch}.first(count)) {
            dropped.push_back(std::move(each.request->owner));
            dropped.push_back(std::move(each.request->keeper));
            if (each.abandoned)
                delete each.request;
        }
        if (count > 0)
            continue;
        if (!asked || std::chrono::steady_clock::now() >= end)
            break;
        ::io_uring_cqe* cqe = nullptr;
        ::__kernel_timespec patience{0, 10'000'000};
        ::io_uring_wait_cqe_timeout(queues_.get(), &cqe, &patience);
    }
}

} // namespace cofork::detail
