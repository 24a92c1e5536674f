// Who is inside of a place, how it comes to rest, and how it ends: the part of dispatcher that lets go.

#include "dispatcher.hpp"

#include "failed_call.hpp"
#include "spare_mapping.hpp"

#include <cofork/detail/completion.hpp>

#include <asio/error.hpp>

#include <algorithm>
#include <iterator>
#include <thread>
#include <utility>

namespace cofork::detail {

/// Nothing is pending where there is no call. Not at once: when the caller goes on with another one, as it does as a rule,
/// what it needs need not be set up anew.
void dispatcher::rest() noexcept
{
    resting_ = false;
    if (!calls_.empty() || !arriving_.empty() || !drains_.empty() || released_)
        return;
    if (crew_.sends()) { // it would be pending for good if that worker died unwatched
        next_look_ = std::min(next_look_, clock::now() + link::silence);
        return arm(clock::now());
    }
    spare_mapping::drop();
    serving_.reset();
    crew_.unwatch();
    armed_for_ = clock::time_point::max();
    next_look_ = clock::time_point::max();
    timer_->cancel();
}

/// All calls are over. Workers that have a state to end do that first; then all is reaped.
void dispatcher::say_farewell(clock::time_point now)
{
    if (farewell_ends_ == clock::time_point::max())
        farewell_ends_ = crew_.has_ender() ? now + crew::farewell : now;
    crew_.dismiss();
    if (crew_.anybody() && now < farewell_ends_)
        return;
    release();
    tell_drained();
}

void dispatcher::tell_drained()
{
    for (const auto& gone : std::exchange(drains_, {}))
        gone();
}

void dispatcher::shut_down(const std::exception_ptr& why) noexcept
{
    if (!is_original) // another thread of the original may have held the lock at the fork
        return release();
    const lock held{*guard_};
    closed_ = true;
    if (inside_ > 0) { // from a callback of a call: after it has returned
        calls_.stop_all(why);
        shut_down_later_ = why;
        return;
    }
    const auto calls = take_all_calls();
    release();
    for (const auto& c : calls)
        c->finish(why);
    if (strand_)
        tell_drained();
}

void dispatcher::abandon() noexcept
{
    const lock held{*guard_};
    closed_ = true;
    if (inside_ > 0) {
        abandon_later_ = true;
        return;
    }
    const auto calls = take_all_calls();
    release();
    const auto dropped = std::exchange(drains_, {});
    for (const auto& c : calls)
        c->the_job()->abandon();
}

void dispatcher::abandon(const std::shared_ptr<call>& c) noexcept
{
    if (one_call)
        return abandon();
    const lock held{*guard_};
    c->be_silent();
    c->stop(failed_call(asio::error::operation_aborted), cancel_mode::kill);
    poke();
}

void dispatcher::context_ended() noexcept
{
    const lock held{*guard_};
    abandon();
    // A strand's destructor reaches into the context.
    crew_.forget_executor();
    strand_ = {};
    io_ = {};
}

std::vector<std::shared_ptr<call>> dispatcher::take_all_calls() noexcept
{
    std::vector<std::shared_ptr<call>> all = std::exchange(arriving_, {});
    std::ranges::copy(calls_.take_all(), std::back_inserter(all));
    if (ending_)
        all.push_back(std::exchange(ending_, nullptr));
    return all;
}

/// Where threads run the context, what follows a call must not hold up the place: handlers would run on its strand, one after the
/// other. Where one does, they go on from there, which saves a turn of the loop.
void dispatcher::enter() noexcept
{
    if (++inside_ > 1)
        return;
    const auto here = std::this_thread::get_id();
    const auto before = std::exchange(thread_, here);
    if (before != here && before != std::thread::id{})
        of_one_thread_ = 0;
    else if (of_one_thread_ < enough_of_one_thread)
        ++of_one_thread_;
    beside_before_ = complete_beside(!on_a_loop_ || of_one_thread_ < enough_of_one_thread);
}

void dispatcher::leave() noexcept
{
    if (--inside_ > 0)
        return;
    complete_beside(beside_before_);
    if (const auto why = std::exchange(shut_down_later_, nullptr))
        shut_down(why);
    if (std::exchange(abandon_later_, false))
        abandon();
}

/// Kills and reaps every process and lets go of every descriptor.
void dispatcher::release() noexcept
{
    released_ = true;
    timer_.reset();
    crew_.end();
    serving_.reset();
}

} // namespace cofork::detail
