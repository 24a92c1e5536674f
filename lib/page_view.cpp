#include "page_view.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace cofork::detail {

namespace {

/// A worker may write any number. Without the sign none of them is before the clock's own beginning, and the difference of
/// two is a number again.
std::chrono::nanoseconds said(const std::atomic<std::uint64_t>& time) noexcept
{
    return std::chrono::nanoseconds{time.load(std::memory_order_relaxed) & (~std::uint64_t{0} >> 1)};
}

} // namespace

page_view::page_view(std::shared_ptr<shared_pages> pages, std::uint32_t slot)
    : pages_{std::move(pages)}, page_{pages_->get()[slot]}, slot_{slot}
{
    pages_->clear_arena(slot);
    page_.claim = 0;
    page_.started_at = 0;
    page_.started = 0;
    page_.finished = 0;
    page_.pid = 0;
    page_.busy = 0;
    page_.taken = 0;
    page_.received = 0;
    page_.flushed = 0;
    page_.filled = 0;
    page_.printed.printing = 0;
    page_.printed.whose = 0;
    page_.printed.size = 0;
    page_.crash.stage = 0;
    page_.crash.signal = 0;
    page_.crash.pc = page_.crash.depth = page_.crash.has_address = page_.crash.stack_overflow = 0;
    page_.crash.system_call = 0;
    page_.crash.type[0] = page_.crash.what[0] = page_.crash.where[0] = page_.crash.trace[0] = '\0';
}

std::uint32_t page_view::raise_epoch() noexcept
{
    std::uint64_t seen = page_.claim.load(std::memory_order_acquire);
    while (
        !page_.claim.compare_exchange_weak(seen, make_claim(epoch_ + 1, claimed_of(seen)), std::memory_order_acq_rel)) {
    }
    ++epoch_;
    return claimed_of(seen);
}

std::chrono::nanoseconds page_view::busy() const noexcept
{
    return said(page_.busy);
}

page_view::time_point page_view::start_of_last() const noexcept
{
    // steady_clock is CLOCK_MONOTONIC (libstdc++, libc++).
    return time_point{said(page_.started_at)};
}

std::optional<page_view::time_point> page_view::running_since() const noexcept
{
    const std::uint32_t ended = finished();
    if (started() == ended)
        return {};
    // `started_at` is written before that and may be the next item's already: then that one starts now.
    return start_of_last();
}

std::optional<page_view::time_point> page_view::last_start() const noexcept
{
    if (started() == 0)
        return {};
    return start_of_last();
}

std::optional<crash_report> page_view::crash() const
{
    const crash_facts& facts = page_.crash;
    if (facts.stage.load(std::memory_order_acquire) == 0)
        return {};
    // All that the worker may have written is cut to its field, whatever it holds.
    const auto text = [](const auto& field) { return std::string{field, ::strnlen(field, sizeof field)}; };
    crash_report r;
    r.signal = facts.signal;
    if (facts.has_address != 0)
        r.address = facts.address;
    r.stack_overflow = facts.stack_overflow != 0;
    if (facts.system_call != 0)
        r.system_call = static_cast<int>(facts.system_call - 1);
    r.type = text(facts.type);
    r.what = text(facts.what);
    r.where = text(facts.where);
    r.trace = text(facts.trace);
    return r;
}

std::string page_view::printed() const
{
    const printed_facts& facts = page_.printed;
    if (facts.whose.load(std::memory_order_acquire) != started())
        return {};
    return {facts.end, std::min<std::size_t>(facts.size.load(std::memory_order_acquire), sizeof facts.end)};
}

std::vector<std::byte> page_view::unwritten(std::uint64_t position) const
{
    const std::uint64_t base = page_.flushed.load(std::memory_order_acquire);
    const std::size_t filled = page_.filled.load(std::memory_order_acquire);
    if (filled > sizeof page_.out || position < base || position >= base + filled)
        return {};
    std::vector<std::byte> copy(page_.out + (position - base), page_.out + filled);
    std::atomic_thread_fence(std::memory_order_acquire);
    if (page_.flushed.load(std::memory_order_acquire) != base) // overwritten meanwhile; it comes by the pipe
        return {};
    return copy;
}

} // namespace cofork::detail
