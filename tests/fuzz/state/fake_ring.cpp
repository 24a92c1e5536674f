// A ring whose kernel is the fuzzer: requests complete when it says so, with as much as it says, or are refused.

#include "machine.hpp"

#include <liburing.h>

#include <algorithm>
#include <cerrno>

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace cofork::detail {

ring::ring() = default;
ring::~ring() = default;

bool ring::start(ring_request& request, const asio::any_io_executor& lender, bool) noexcept
{
    fuzz::machine& m = fuzz::machine::here();
    if (m.no_ring)
        return false;
    request.insert_before(requests_);
    m.take(request, lender);
    return true;
}

std::optional<int> ring::take_result(ring_request& request) noexcept
{
    fuzz::machine& m = fuzz::machine::here();
    if (!m.at_once || !request.linked())
        return {};
    const std::optional<int> result = m.move(request, request.bytes.size());
    if (result) {
        request.unlink();
        m.drop(request);
    }
    return result;
}

void ring::cancel(ring_request& request) noexcept
{
    if (!request.linked())
        return;
    if (fuzz::machine::here().no_cancel)
        request.cancel_refused();
    else
        fuzz::machine::here().cancel(request);
}

std::shared_ptr<void> ring::abandon(std::unique_ptr<ring_request>& request) noexcept
{
    if (!request->linked())
        return nullptr;
    request->unlink();
    fuzz::machine::here().drop(*request);
    request->owner.reset();
    std::shared_ptr<void> keeper = request->keeper;
    abandoned_.push_back(std::move(request));
    return keeper;
}

void ring::shutdown() noexcept
{
    std::vector<std::shared_ptr<void>> dropped;
    while (requests_.linked()) {
        auto& request = static_cast<ring_request&>(*requests_.next());
        request.unlink();
        dropped.push_back(std::move(request.owner));
        dropped.push_back(std::move(request.keeper));
    }
    for (const auto& request : abandoned_)
        dropped.push_back(std::move(request->keeper));
    fuzz::machine::here().let_go();
    while (guests_.linked()) {
        auto& guest = static_cast<ring_guest&>(*guests_.next());
        guest.unlink();
        dropped.push_back(guest.forsake());
    }
}

const std::shared_ptr<ring>& ring_of(asio::execution_context& context)
{
    return asio::use_service<ring_service>(context).shared();
}

} // namespace cofork::detail

namespace fuzz {

void machine::take(ring_request& request, const asio::any_io_executor& lender)
{
    if (!ring_work_)
        ring_work_.emplace(lender);
    transfers_.push_back({&request, false});
}

void machine::drop(ring_request& request)
{
    std::erase_if(transfers_, [&](const transfer& t) { return t.request == &request; });
    if (transfers_.empty())
        ring_work_.reset();
}

bool machine::complete(std::size_t at, std::size_t most)
{
    const std::optional<int> result = move(*transfers_[at].request, most);
    const bool over = result || transfers_[at].cancelled;
    if (over)
        finish(at, result.value_or(-ECANCELED));
    return over;
}

std::optional<int> machine::move(ring_request& request, std::size_t most)
{
    pollfd ready{request.fd, static_cast<short>(request.reads ? POLLIN : POLLOUT), 0};
    if (::poll(&ready, 1, 0) <= 0)
        return {};
    // A pipe that can be written has room for so much, and a write of no more does not wait (pipe(7)).
    constexpr std::size_t atomic = 4096;
    const std::size_t n = std::min({std::max<std::size_t>(most, 1), request.bytes.size(), request.reads ? most : atomic});
    ssize_t moved = 0;
    if (request.reads)
        moved = ::read(request.fd, request.bytes.data(), std::max<std::size_t>(n, 1));
    else
        moved = ::write(request.fd, request.bytes.data(), n);
    return moved < 0 ? -errno : static_cast<int>(moved);
}

void machine::fail(std::size_t at, int error)
{
    finish(at, -error);
}

void machine::cancel(ring_request& request)
{
    // It ends later: never from inside the call that asks for it.
    std::ranges::find(transfers_, &request, &transfer::request)->cancelled = true;
}

void machine::finish(std::size_t at, int result)
{
    ring_request& request = *transfers_[at].request;
    request.unlink();
    const auto work = ring_work_; // until the completion is on its way
    drop(request);
    request.done(result);
}

void machine::let_go() noexcept
{
    transfers_.clear();
    ring_work_.reset();
    listener_.reset();
    ending_.reset();
}

} // namespace fuzz
