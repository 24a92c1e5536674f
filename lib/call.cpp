#include "call.hpp"

#include "dispatcher.hpp"

#include <algorithm>
#include <atomic>
#include <functional>
#include <string_view>
#include <typeinfo>

#include <cxxabi.h>
#include <cstdlib>

namespace cofork::detail {

namespace {

/// No batch carries more bytes of items than this, unless it is one item: the pipe is full long before.
constexpr std::size_t batch_bytes = 256 * 1024;

/// An item in bytes, with its size word; larger ones make the buffer grow.
constexpr std::size_t likely_item = 16;

/// A stream whose consumer stops reading holds no more than about this many results.
constexpr std::size_t largest_chosen_window = 16 * 1024;

std::string readable(const std::type_info& type)
{
    int status = 0;
    char* const name = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
    std::string text = name ? name : type.name();
    std::free(name);
    return text;
}

/// Precondition: an exception is being handled.
failure undecodable(int pid)
{
    failure why;
    why.kind = failure_kind::exception;
    why.pid = pid;
    why.what = "the result could not be decoded";
    try {
        throw;
    }
    catch (const std::exception& e) {
        why.what += std::string{": "} + e.what();
        why.type = readable(typeid(e));
    }
    catch (...) { // of no known type
    }
    return why;
}

std::uint64_t next_number() noexcept
{
    static std::atomic<std::uint64_t> calls = 0;
    return calls.fetch_add(1, std::memory_order_relaxed) + 1;
}

} // namespace

call::call(std::shared_ptr<job> work, const options& o, clock::time_point now)
    : job_{std::move(work)}, number_{next_number()}, options_{o}, measured_{static_cast<bool>(o.on_event)},
      gate_{o.pause}, batches_{o.fresh ? 1 : o.chunk}, started_at_{now},
      deadline_{std::min(o.deadline.count() > 0 ? now + o.deadline : clock::time_point::max(), o.until)}, size_{job_->size()}
{
    if (o.pause_first)
        gate_.started(now);
    progress_.total = size_.value_or(o.total);
    if (job_->by_index() && size_ == 0u)
        exhausted_ = true;
}

std::size_t call::function() const noexcept
{
    const entry* const code = job_->code();
    if (!code || job_->is_single())
        return 0;
    // The code is that of a type; functions of one type are told apart by what travels with it, as are closures.
    const byte_view captures = job_->captures();
    const std::string_view bytes{reinterpret_cast<const char*>(captures.data()), captures.size()};
    return std::hash<const entry*>{}(code) * 31 + std::hash<std::string_view>{}(bytes) + 1;
}

void call::cancel(bool kill) noexcept
{
    if (const auto where = home.lock())
        where->cancel(shared_from_this(), kill);
}

void call::poke() noexcept
{
    if (const auto where = home.lock())
        where->poke(shared_from_this());
}

void call::abandon() noexcept
{
    if (const auto where = home.lock())
        where->abandon(shared_from_this());
}

std::optional<std::size_t> call::remaining() const
{
    if (!size_)
        return {};
    return *size_ - std::min<std::size_t>(*size_, next_);
}

std::size_t call::batch_limit(unsigned workers, bool alone)
{
    const bool nobody_waits = alone && all_at_once_ && !gated();
    may_wait_ = batches_.may_wait(remaining(), workers, nobody_waits);
    if (gated() || options_.fresh)
        return 1;
    return std::min<std::size_t>(batches_.next(remaining(), std::max(workers, 1u), nobody_waits), std::uint32_t(-1));
}

std::optional<item_run> call::take(clock::time_point now, unsigned workers, std::size_t most, bool alone)
{
    if (stopping_)
        return {};
    if (!gate_.open(now)) {
        look_ahead();
        return {};
    }
    const std::size_t limit = std::min(batch_limit(workers, alone), most);
    std::optional<item_run> taken;
    if (!again_.empty()) {
        // A failed item goes alone: if it fails again it must not hold up others.
        const auto n = again_.front().attempt > 0 ? 1 : std::min<std::size_t>(limit, again_.front().count);
        taken = again_.front().take_front(static_cast<std::uint32_t>(n));
        if (again_.front().count == 0)
            again_.pop_front();
    }
    else
        taken = take_new(limit);
    if (!taken)
        return {};
    running_ += taken->count;
    if (gated())
        started(now); // corrected by started(), once the worker has said when it really was
    return taken;
}

/// A call whose last item is done should not wait for its gate to learn that there is no other.
void call::look_ahead()
{
    if (running_ > 0 || !again_.empty())
        return;
    if (auto next = take_new(1))
        again_.push_back(std::move(*next));
}

void call::started(clock::time_point when) noexcept
{
    when = std::min(when, clock::now()); // a worker that lies about its start must not close the gate for good
    if (when <= last_start_)
        return;
    last_start_ = when;
    gate_.started(when);
}

std::optional<item_run> call::take_new(std::size_t limit)
{
    if (exhausted_)
        return {};
    const std::size_t chosen = std::clamp<std::size_t>(64 * limit, 64, largest_chosen_window);
    const std::size_t room = job_->room(options_.window > 0 ? options_.window : chosen);
    all_at_once_ = room == std::size_t(-1);
    limit = std::min(limit, room - std::min(room, unsettled_));
    full_ = limit == 0;
    if (full_)
        return {};
    if (!job_->by_index())
        return pull(limit);
    const std::size_t n = std::min(limit, *remaining());
    item_run taken{next_, static_cast<std::uint32_t>(n), 0, nullptr, 0};
    next_ += n;
    unsettled_ += n;
    exhausted_ = next_ == *size_;
    return taken;
}

/// Encodes up to `limit` items. What the range throws ends the call, or the input: that is the job's choice.
std::optional<item_run> call::pull(std::size_t limit)
{
    poked_ = false;
    auto items = std::make_shared<encoded_items>();
    byte_buffer& bytes = items->bytes;
    bytes.reserve(std::min(limit * likely_item, batch_bytes));
    std::uint32_t n = 0;
    starved_ = false;
    while (n < limit && items->left.empty() && (n == 0 || bytes.size() < batch_bytes)) {
        const std::size_t at = bytes.size();
        bytes.resize(at + sizeof(std::uint64_t));
        pulled got = pulled::end;
        try {
            got = job_->pull(*items);
        }
        catch (...) {
            stop(std::current_exception(), cancel_mode::kill);
        }
        if (got != pulled::item) {
            bytes.resize(at);
            exhausted_ = got == pulled::end;
            starved_ = got == pulled::later;
            break;
        }
        std::uint64_t size = bytes.size() - at - sizeof size;
        for (const left_block& block : items->left)
            size += block.bytes.size();
        store(bytes.data() + at, size);
        ++n;
    }
    if (n == 0 || stopping_)
        return {};
    item_run taken{next_, n, 0, std::move(items), 0};
    next_ += n;
    unsettled_ += n;
    exhausted_ = exhausted_ || size_ == next_;
    return taken;
}

void call::give_back(item_run items)
{
    running_ -= items.count;
    if (stopping_)
        return;
    // In the order of the input: what is started again may be older than what comes back now.
    const auto place = std::find_if(again_.begin(), again_.end(), [&](const item_run& r) { return r.first > items.first; });
    again_.insert(place, std::move(items));
}

std::optional<clock::time_point> call::waits_until(clock::time_point now) const
{
    if (stopping_ || gate_.open(now) || (again_.empty() && exhausted_))
        return {};
    return gate_.opens_at();
}

std::size_t call::queued() const noexcept
{
    std::size_t items = stopping_ ? 0 : remaining().value_or(0);
    for (const item_run& r : again_)
        items += r.count;
    return items;
}

call::delivered call::values(std::uint64_t first, const result_run& results, int pid)
{
    try {
        const std::uint32_t count = job_->deliver(first, results);
        settled(count);
        return {count, {}};
    }
    catch (...) {
        return {0, undecodable(pid)};
    }
}

bool call::again_allowed(const failure& why) const noexcept
{
    switch (why.kind) {
    case failure_kind::crashed:
    case failure_kind::protocol:
        return options_.again & retry_on::crash;
    case failure_kind::timeout:
        return options_.again & retry_on::timeout;
    case failure_kind::exception:
    case failure_kind::limit:
        return options_.again & retry_on::exception;
    case failure_kind::cancelled:
    case failure_kind::not_started:
        break;
    }
    return false;
}

void call::failed(item_run one, failure why, const attempt_facts& by)
{
    why.index = one.first;
    why.attempts = one.attempt + 1;
    if (stopping_) { // it was killed because the call ends, or ended while it did
        settled(failure_kind::cancelled);
        return ended(event_kind::finish, one.first, one.attempt, by, &why);
    }
    try {
        if (options_.on_error && !silent_)
            options_.on_error(why);
    }
    catch (...) {
        stop(std::current_exception(), cancel_mode::kill);
        settled(why.kind);
        return ended(event_kind::finish, one.first, one.attempt, by, &why);
    }
    try {
        if (why.attempts < options_.attempts && again_allowed(why)) {
            ended(event_kind::retry, one.first, one.attempt, by, &why);
            ++progress_.retried;
            if (counts_)
                ++counts_->retried;
            ++one.attempt;
            give_back(std::move(one));
            return;
        }
        settled(why.kind);
        ended(event_kind::finish, one.first, one.attempt, by, &why);
        const bool go_on = job_->deliver(why);
        if (!go_on)
            stop(std::make_exception_ptr(item_error{std::move(why)}), cancel_mode::kill);
    }
    catch (...) {
        stop(std::current_exception(), cancel_mode::kill);
    }
}

void call::is_slow(const slow_item& which) noexcept
{
    try {
        if (options_.on_slow && !stopping_ && !silent_)
            options_.on_slow(which);
    }
    catch (...) {
        stop(std::current_exception(), cancel_mode::kill);
    }
}

void call::settled(failure_kind failed) noexcept
{
    settled(1);
    ++progress_.failed;
    if (counts_)
        ++counts_->failed[failed];
}

void call::stop(std::exception_ptr why, cancel_mode mode) noexcept
{
    if (mode == cancel_mode::kill)
        mode_ = mode;
    if (stopping_)
        return;
    stopping_ = true;
    why_ = std::move(why);
    again_.clear();
}

bool call::over()
{
    if (running_ > 0)
        return false;
    if (stopping_)
        return true;
    if (!again_.empty())
        return false;
    if (exhausted_)
        return true;
    if (starved_ ? !job_->over_when_idle() : next_ == 0)
        return false;
    // While no worker is free nobody asks for the next item, and so nobody learns that there is none, or that the source has
    // grown since it was asked.
    look_ahead();
    if (stopping_ || exhausted_)
        return again_.empty();
    return again_.empty() && starved_ && job_->over_when_idle();
}

void call::finish(std::exception_ptr instead) noexcept
{
    job_->finish(instead ? std::move(instead) : std::move(why_));
}

void call::report_progress(clock::time_point now, unsigned busy, bool last) noexcept
{
    if (!options_.progress || silent_)
        return;
    reported_ = progress_.done + progress_.retried;
    progress_.busy = busy;
    progress_.elapsed = now - started_at_;
    progress_.finished = last;
    try {
        options_.progress.update(progress_);
    }
    catch (...) {
        stop(std::current_exception(), cancel_mode::kill);
    }
}

} // namespace cofork::detail
