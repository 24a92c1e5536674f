// How a link to a worker ends, and what becomes of what it held.

#include "link.hpp"

#include "blame.hpp"

#include <algorithm>
#include <csignal>
#include <utility>

#include <fcntl.h>
#include <sys/wait.h>

namespace cofork::detail {

namespace {

/// Workers that may be lost, one after the other, with the same item unstarted at their head. Two or three of them can
/// be killed from outside at the wrong moment.
constexpr std::uint32_t most_losses = 20;

} // namespace

void link::retire()
{
    if (!alive() || channel_->reading() || channel_->writing())
        return; // what is left to read came by the page before; the next turn tries again
    retiring_ = true;
    quiet_since_ = clock::now();
    channel_->close(); // end of file on the job pipe: the worker ends
    enrol();
}

void link::on_ended(std::optional<nursery_report> report) noexcept
{
    if (ended_)
        return;
    ended_ = true;
    end_ = report;
    if (report && report->pid != 0)
        pid_ = report->pid;
    if (!retiring_)
        channel_->cancel();
    end_when_quiet();
}

void link::end_when_quiet() noexcept
{
    enrol();
    if (gone_ || channel_->reading() || channel_->writing())
        return; // their callbacks come here again
    if (!retiring_)
        drain();
    judge();
    if (!retiring_)
        channel_->close();
    gone_ = true;
    enrol();
    if (user_)
        user_->turn();
}

/// What a worker wrote before its end is still in the pipe, and it counts.
void link::drain() noexcept
{
    // Not until it is empty: a process that the worker has left behind may go on writing.
    for (int left = ::fcntl(results_fd_, F_GETPIPE_SZ); left > 0 && !distrusted_;) {
        const std::size_t got = channel_->read_now(inbox_.space());
        if (got == 0)
            break;
        left -= static_cast<int>(got);
        arrived(got);
    }
    harvest();
}

/// Only what had been started and not answered has failed; everything behind it goes to another worker. Until an item
/// has outlived too many workers that say they have not begun it: a worker's page is in the worker's hands.
void link::judge() noexcept
{
    std::uint32_t n = unfit_.empty() ? started_unanswered() : 0;
    if (n == 0 && !held_.empty() && ready_ && reason_ == kill_reason::none && ++held_.first().losses >= most_losses)
        n = 1; // whatever its page says
    if (n == 0)
        tell_crash(nullptr, nullptr);
    for (; n > 0; --n) {
        const std::uint32_t which = inbox_.answered();
        const bool is_target = which == target_sequence_;
        const std::shared_ptr<call> owner = held_.owner();
        const item_run one = pop_front();
        tell_start(one, which, *owner);
        failure why = blame({end_, reason_, detail_, terms_.rules, std::chrono::seconds{note_.cpu_seconds}}, page_, pid(), is_target);
        why.index = one.first;
        why.attempts = one.attempt + 1;
        if (n == 1)
            tell_crash(&why, owner.get());
        const attempt_facts by = lost(why);
        owner->failed(one, std::move(why), by);
    }
    held_.keep(0);
}

bool link::failed_to_begin() const noexcept
{
    return reason_ == kill_reason::boot || (ended_unready() && !ended_from_outside());
}

bool link::killed_before_it_began() const noexcept
{
    return ended_unready() && ended_from_outside();
}

bool link::ended_unready() const noexcept
{
    return end_ && !ready_ && !killed() && !retiring_;
}

/// As far as can be told: also the kernel ends so what has no memory.
bool link::ended_from_outside() const noexcept
{
    return end_ && end_->code != CLD_EXITED && (end_->status == SIGKILL || end_->status == SIGTERM);
}

void link::detach() noexcept
{
    user_ = nullptr;
    strike_off();
    const auto pipes = std::move(channel_); // what is pending holds us: a context that drops it must free both
    if (!pipes || (retiring_ && !pipes->reading() && !pipes->writing()))
        return;
    pipes->cancel();
    held_.forget();
}

} // namespace cofork::detail
