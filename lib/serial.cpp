#include "serial.hpp"

#include "failed_call.hpp"
#include "own_strand.hpp"
#include "process.hpp"

#include <cofork/error.hpp>

#include <asio/error.hpp>
#include <asio/post.hpp>

#include <system_error>

#include <unistd.h>

namespace cofork::detail {

serial::serial(const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> work)
    : strand_{own_strand(ex)}, timer_{strand_}, job_{work}, call_{std::move(work), o, clock::now()}
{
}

void serial::start()
{
    place_registry::enlist(strand_, weak_from_this());
    call_.report_progress(clock::now(), 0);
    later();
}

void serial::later()
{
    if (std::exchange(posted_, true))
        return;
    asio::post(strand_, [self = shared_from_this()] {
        self->posted_ = false;
        self->step();
    });
}

void serial::step()
{
    const std::lock_guard lock{guard_};
    if (over_)
        return;
    inside_ = true;
    step_once();
    inside_ = false;
    if (std::exchange(abandon_later_, false))
        abandon();
}

void serial::step_once()
{
    const auto now = clock::now();
    if (now >= call_.deadline())
        call_.stop(failed_call(errc::deadline), cancel_mode::kill);
    if (auto items = call_.take(now, 1)) {
        if (items->count > 1) {
            item_run rest = *items;
            *items = rest.take_front(1);
            call_.give_back(std::move(rest));
        }
        run_one(*items);
        call_.report_progress(clock::now(), 0);
        return later();
    }
    if (call_.over()) {
        over_ = true;
        timer_->cancel();
        call_.report_progress(clock::now(), 0, true);
        return call_.finish();
    }
    if (const auto gate = call_.waits_until(now))
        wait_until(std::min(*gate, call_.deadline()));
    else if (call_.deadline() != clock::time_point::max())
        wait_until(call_.deadline());
    // Else a poke goes on: room for results, or new items.
}

attempt_facts serial::facts_since(clock::time_point started, std::chrono::nanoseconds cpu_before) const
{
    attempt_facts by;
    by.pid = ::getpid();
    by.ended = clock::now();
    by.ran = by.ended - started;
    if (call_.measured()) {
        by.cpu = processor_time_of(::getpid()) - cpu_before;
        by.memory = peak_memory_of(::getpid());
    }
    return by;
}

/// As a worker would have them, in one piece.
byte_view serial::bytes_of(const item_run& one)
{
    item_.clear();
    one.pieces([this](byte_view piece, const auto&) { item_.insert(item_.end(), piece.begin(), piece.end()); });
    return byte_view{item_}.subspan(sizeof(std::uint64_t));
}

void serial::run_one(const item_run& one)
{
    const auto started = clock::now();
    call_.started(started);
    if (call_.measured())
        call_.starts(one.first, one.attempt, 0, ::getpid());
    const auto cpu_before = call_.measured() ? processor_time_of(::getpid()) : std::chrono::nanoseconds{0};
    const auto facts = [&] { return facts_since(started, cpu_before); };
    result_.clear();
    try {
        encoder out{result_, call_.opts().max_result};
        byte_view item;
        if (one.encoded)
            item = bytes_of(one);
        if (job_->code())
            job_->code()->run(nullptr, job_->captures(), {item}, out);
        else
            job_->inherited()->run(one.first, {item}, out);
    }
    catch (...) {
        failure why = current_failure();
        why.elapsed = clock::now() - started;
        return call_.failed(one, std::move(why), facts());
    }
    const auto elapsed = clock::now() - started;
    if (call_.opts().timeout.count() > 0 && elapsed >= call_.opts().timeout) {
        failure why;
        why.kind = failure_kind::timeout;
        why.what = "did not end in time; it ran in this process, where it cannot be stopped";
        why.pid = ::getpid();
        why.elapsed = elapsed;
        return call_.failed(one, std::move(why), facts());
    }
    const attempt_facts by = facts(); // f has ended
    auto taken = call_.values(one.first, {result_.data(), result_.size(), 0, 1}, by.pid);
    if (taken.undecodable)
        call_.failed(one, std::move(*taken.undecodable), by);
    else
        call_.succeeded(one.first, one.attempt, by);
}

void serial::wait_until(clock::time_point when)
{
    timer_->expires_at(when);
    timer_->async_wait([self = shared_from_this()](std::error_code ec) {
        if (!ec)
            self->later();
    });
}

void serial::cancel(bool kill) noexcept
{
    if (!strand_)
        return; // its context is gone
    asio::post(strand_, [self = shared_from_this(), kill] {
        self->call_.stop(failed_call(asio::error::operation_aborted),
            kill ? cancel_mode::kill : cancel_mode::gentle);
        self->step();
    });
}

void serial::poke() noexcept
{
    if (!strand_)
        return;
    asio::post(strand_, [self = shared_from_this()] { self->later(); });
}

void serial::abandon() noexcept
{
    const std::lock_guard lock{guard_};
    if (inside_) {
        abandon_later_ = true;
        return;
    }
    timer_.reset();
    if (!std::exchange(over_, true))
        job_->abandon();
}

void serial::context_ended() noexcept
{
    abandon();
    strand_ = {};
}

} // namespace cofork::detail
