#include "call_queue.hpp"

#include "failed_call.hpp"

#include <cofork/error.hpp>

#include <algorithm>
#include <utility>

namespace cofork::detail {

namespace {

constexpr auto progress_tick = std::chrono::milliseconds{100};

} // namespace

/// Where a call of this priority goes: behind its equals.
call_queue::line::iterator call_queue::behind(line& calls, int priority)
{
    return std::ranges::find_if(calls, [&](const auto& c) { return c->opts().priority < priority; });
}

void call_queue::add(std::shared_ptr<call> c, clock::time_point now)
{
    if (c->opts().progress) {
        c->report_progress(now, 0);
        next_progress_ = std::min(next_progress_, now + progress_tick);
    }
    line& calls = full() ? waiting_ : served_;
    calls.insert(behind(calls, c->opts().priority), std::move(c));
}

void call_queue::stop_all(const std::exception_ptr& why) noexcept
{
    for (const line* calls : {&served_, &waiting_})
        for (const auto& c : *calls)
            c->stop(why, cancel_mode::kill);
}

void call_queue::stop_overdue(clock::time_point now)
{
    for (const line* calls : {&served_, &waiting_}) {
        for (const auto& c : *calls) {
            if (now >= c->deadline() && !c->stopping())
                c->stop(failed_call(errc::deadline), cancel_mode::kill);
        }
    }
}

void call_queue::report_progress(clock::time_point now, const std::function<unsigned(const call&)>& serving)
{
    const bool due = now >= next_progress_;
    bool any = false;
    for (const auto& c : served_) {
        if (!c->opts().progress)
            continue;
        any = true;
        if (due || c->progressed())
            c->report_progress(now, serving(*c));
    }
    if (!any)
        next_progress_ = clock::time_point::max();
    else if (due)
        next_progress_ = now + progress_tick;
}

std::shared_ptr<call> call_queue::take_over_from(line& calls)
{
    const auto at = std::ranges::find_if(calls, [](const auto& c) { return c->over(); });
    if (at == calls.end())
        return nullptr;
    std::shared_ptr<call> c = std::move(*at);
    calls.erase(at);
    return c;
}

std::shared_ptr<call> call_queue::take_over()
{
    std::shared_ptr<call> c = take_over_from(served_);
    if (c && !waiting_.empty()) {
        served_.insert(behind(served_, waiting_.front()->opts().priority), waiting_.front());
        waiting_.pop_front();
    }
    if (!c && !waiting_.empty()) // cancelled, or too late
        c = take_over_from(waiting_);
    if (!c)
        return nullptr;
    if (c->opts().progress)
        c->report_progress(clock::now(), 0, true);
    return c;
}

std::vector<std::shared_ptr<call>> call_queue::take_all() noexcept
{
    std::vector<std::shared_ptr<call>> all{served_.begin(), served_.end()};
    all.insert(all.end(), waiting_.begin(), waiting_.end());
    served_.clear();
    waiting_.clear();
    return all;
}

clock::time_point call_queue::wakes(clock::time_point now) const
{
    clock::time_point first = next_progress_;
    for (const auto& c : waiting_)
        first = std::min(first, c->deadline());
    for (const auto& c : served_) {
        if (!c->stopping()) // else it has passed, or does not matter: a timer for the past would fire again and again
            first = std::min(first, c->deadline());
        if (const auto gate = c->waits_until(now))
            first = std::min(first, *gate);
    }
    return first;
}

std::size_t call_queue::queued() const noexcept
{
    std::size_t sum = 0;
    for (const auto& c : served_)
        sum += c->queued();
    return sum;
}

} // namespace cofork::detail
