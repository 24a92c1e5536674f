#include "dispatcher.hpp"

#include "failed_call.hpp"
#include "own_strand.hpp"
#include "place_registry.hpp"
#include "process.hpp"

#include <cofork/error.hpp>

#include <asio/error.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <iterator>
#include <system_error>
#include <utility>

namespace cofork::detail {

namespace {

using namespace std::chrono_literals;

/// How often a gated call looks whether the item before the next has really begun.
constexpr auto start_poll = 250us;

} // namespace

dispatcher::dispatcher(const asio::any_io_executor& ex, const crew_setup& setup)
    : io_{ex}, strand_{own_strand(ex)}, on_a_loop_{is_over_loop(strand_)}, crew_{strand_, setup, *this, guard_}, calls_{setup.max_calls},
      overload_{setup.overload}, timer_{strand_}, spin_{setup.spin}
{
}

dispatcher::~dispatcher()
{
    release();
}

template <typename Action>
void dispatcher::on_strand(Action action)
{
    const lock held{*guard_};
    if (!strand_)
        return; // its context is gone
    asio::post(strand_, [self = shared_from_this(), action = std::move(action)]() mutable {
        const lock again{*self->guard_};
        action();
    });
}

void dispatcher::fork_now()
{
    crew_.fork_nursery();
    place_registry::enlist(strand_, weak_from_this());
}

void dispatcher::add(std::shared_ptr<call> c)
{
    const lock held{*guard_};
    if (!strand_)
        return c->finish(failed_call(errc::pool_closed));
    c->count_in(crew_.counts());
    arriving_.push_back(c);
    auto see = [self = shared_from_this(), c] {
        const lock again{*self->guard_};
        if (std::erase(self->arriving_, c) > 0) // else it was ended in the meantime
            self->admit(c);
    };
    try {
        if (inside_ == 0 && c->is_brief()) // here, if this thread runs the loop: it saves a turn of that
            strand_.execute(std::move(see));
        else
            asio::post(strand_, std::move(see));
    }
    catch (...) { // no memory
        std::erase(arriving_, c);
        throw;
    }
}

void dispatcher::admit(const std::shared_ptr<call>& c)
{
    const entered inside{*this};
    if (closed_ && !c->stopping())
        c->stop(failed_call(errc::pool_closed), cancel_mode::kill);
    if (released_)
        return c->finish();
    if (calls_.full() && overload_ == when_full::fail)
        return c->finish(failed_call(errc::overloaded));
    if (calls_.empty())
        crew_.start_small();
    if (calls_.is_in_turn(*c))
        crew_.shorten(); // what was to be long, as nobody else was there
    if (const auto cost = costs_.of(c->function()))
        c->expect_cost(*cost);
    calls_.add(c, clock::now());
    serving_ = shared_from_this();
    crew_.watch(shared_from_this());
    turn();
}

void dispatcher::cancel(std::shared_ptr<call> c, bool kill)
{
    on_strand([this, c = std::move(c), kill] {
        c->stop(failed_call(asio::error::operation_aborted), kill ? cancel_mode::kill : cancel_mode::gentle);
        turn();
    });
}

void dispatcher::poke(std::shared_ptr<call> c)
{
    on_strand([this, c = std::move(c)] {
        if (c)
            c->poked();
        turn();
    });
}

void dispatcher::turn() noexcept
{
    if (!is_original)
        return;
    if (in_turn_) {
        turn_again_ = true;
        return;
    }
    const entered inside{*this}; // keeps us, too: a callback may drop the last owner
    in_turn_ = true;
    do {
        turn_again_ = false;
        if (!released_)
            run_turn();
    } while (turn_again_);
    in_turn_ = false;
}

void dispatcher::guess_ended() noexcept
{
    crew_.retract();
    turn_again_ = true; // if a turn is in progress; else one follows
}

void dispatcher::run_turn()
{
    const auto now = clock::now();
    crew_.sweep(now);
    if (const auto why = calls_.empty() ? nullptr : crew_.hopeless())
        calls_.stop_all(why);
    calls_.stop_overdue(now);
    if (calls_.any_served([](const call& c) { return c.stopping(); }))
        crew_.apply_stops();
    if (crew_.recycle()) // before idle workers get more
        next_look_ = std::min(next_look_, now + link::silence);
    assign(now);
    const bool waits_long = next_look_ != clock::time_point::max() && next_look_ > now + crew::patience;
    if (waits_long && crew_.could_help())
        next_look_ = now + crew::patience;
    if (now >= next_look_)
        look(now);
    if (polling_)
        next_look_ = std::min(next_look_, now + start_poll);
    calls_.report_progress(now, [this](const call& c) { return crew_.serving(c); });
    finish_calls();
    if (!released_)
        arm(now);
}

void dispatcher::on_report(const nursery_report& report) noexcept
{
    const entered inside{*this};
    crew_.on_report(report, clock::now());
}

void dispatcher::on_nursery_lost() noexcept
{
    const entered inside{*this};
    const bool nested = std::exchange(in_turn_, true); // nothing new before all are judged
    crew_.on_nursery_lost(clock::now());
    in_turn_ = nested;
    turn();
}

void dispatcher::keep_least(clock::time_point now)
try {
    if (!closed_ && crew_.has_nursery())
        crew_.keep_least(now);
}
catch (const std::system_error& e) {
    spawn_failed(now, e);
}

void dispatcher::start_least()
{
    const lock held{*guard_};
    crew_.keep_least(clock::now());
}

void dispatcher::resize(unsigned workers)
{
    {
        const lock held{*guard_};
        if (workers == 0 || workers > crew_.largest())
            throw std::system_error{make_error_code(errc::invalid_options), "not between 1 and pool_options::workers"};
        crew_.resize(workers);
    }
    poke();
}

void dispatcher::assign(clock::time_point now)
{
    wanting_ = polling_ = false;
    crew_.grow(now);
    keep_least(now);
    calls_.offer([&](const std::shared_ptr<call>& c) { return assign_one(c, now); });
}

unsigned dispatcher::most_for(const call& c) const noexcept
{
    return std::min(crew_.most(), std::max(c.opts().workers, 1u));
}

/// Another call that comes before `c`, or in turn with it, would take a worker.
bool dispatcher::others_want(const call& c, clock::time_point now) const
{
    return c.wants(now) && calls_.any_served([&](const call& other) {
        return &other != &c && other.opts().priority >= c.opts().priority && other.wants(now)
            && crew_.serving(other) < most_for(other);
    });
}

bool dispatcher::assign_one(const std::shared_ptr<call>& c, clock::time_point now)
{
    if (c->stopping())
        return false;
    if (c->gated() && !crew_.starts_known(*c)) {
        polling_ = true;
        return false;
    }
    const unsigned held = crew_.serving(*c);
    const unsigned most = most_for(*c);
    std::shared_ptr<link> target = held < most ? crew_.idle(c->opts().fresh) : nullptr;
    const bool make_one = !target && held < most && crew_.may_hire(now);
    const bool alone = calls_.served() == 1 && calls_.waiting() == 0;
    if (!target && !make_one && c->prefetch(alone) && !others_want(*c, now)) // else it would never be their turn
        target = crew_.shortest(*c);
    if (!target && !make_one) {
        wanting_ = wanting_ || held < most;
        if (c->opts().fresh && held < most && crew_.replace_used())
            next_look_ = std::min(next_look_, now + link::silence);
        return false;
    }
    auto items = c->take(now, most, crew_.allowance(target.get()), alone);
    if (!items)
        return false;
    try {
        if (!target && !crew_.has_nursery())
            fork_now(); // the first one of a pool is made early; here only after it was lost
        if (!target)
            target = crew_.hire(now);
    }
    catch (const std::system_error& e) { // no descriptors, as a rule: go on with the workers that there are
        c->give_back(std::move(*items));
        spawn_failed(now, e);
        return false;
    }
    look_after(*target, *c, items->count, now);
    target->dispatch(c, std::move(*items), now);
    if (spin_.count() > 0 && crew_.counts()->last_run() < spin_)
        spin_from(now);
    return true;
}

/// When to look at a worker that gets so many items now.
void dispatcher::look_after(const link& target, const call& c, std::size_t items, clock::time_point now)
{
    if (!target.began() && crew_.boot_timeout().count() > 0)
        next_look_ = std::min(next_look_, target.born() + crew_.boot_timeout());
    for (const auto time : {c.opts().timeout, c.opts().slow}) {
        if (time.count() > 0)
            next_look_ = std::min(next_look_, now + time);
    }
    if (items > 1 || !target.idle())
        next_look_ = std::min(next_look_, now + crew_.patience_for(c));
}

void dispatcher::spawn_failed(clock::time_point now, const std::system_error& why)
{
    turn_again_ = true; // the next turn decides whether this is the end
    // Lost, and now there are threads: no second one can be made.
    if (!crew_.has_nursery() && why.code() == errc::threads_running)
        return calls_.stop_all(failed_call(errc::nursery_lost));
    crew_.refused(now, why.code().value());
}

/// Timeouts; results that wait in a page; items that wait behind a long one while a worker is free.
void dispatcher::look(clock::time_point now)
{
    const auto [again, freed] = crew_.look(now);
    next_look_ = again;
    turn_again_ = turn_again_ || freed;
}

void dispatcher::finish_calls()
{
    const bool others_wait = calls_.waiting() > 0;
    while (const auto c = calls_.take_over()) {
        if (const auto cost = c->item_cost())
            costs_.note(c->function(), *cost);
        finish(c);
        turn_again_ = turn_again_ || others_wait; // one of them is served now
    }
    if (!calls_.empty() || released_)
        return;
    if (!drains_.empty())
        return say_farewell(clock::now());
    if (one_call)
        return rest();
    if (std::exchange(resting_, true))
        return;
    asio::post(strand_, [self = shared_from_this()] {
        const lock held{*self->guard_};
        self->rest();
    });
}

void dispatcher::finish(const std::shared_ptr<call>& c)
{
    if (!one_call || !crew_.has_nursery())
        return c->finish();
    ending_ = c;
    // Reaped before the caller goes on: when it looks, there is no worker.
    crew_.async_end([self = shared_from_this()] {
        const lock held{*self->guard_};
        self->crew_.nursery_ended();
        if (const auto last = std::exchange(self->ending_, nullptr))
            last->finish();
    });
}

void dispatcher::arm(clock::time_point now)
{
    if (calls_.empty() && drains_.empty() && !crew_.sends())
        return;
    auto next = std::min({next_look_, farewell_ends_, calls_.wakes(now)});
    if (wanting_)
        next = std::min(next, crew_.wait_for_more());
    if (next >= armed_for_)
        return; // it fires earlier than needed and looks again: cheaper than setting it anew every time
    armed_for_ = clock::time_point::max(); // until it is: there may be no memory for the wait
    timer_->expires_at(next);
    timer_->async_wait([self = shared_from_this()](std::error_code ec) {
        if (ec)
            return;
        const lock held{*self->guard_};
        self->armed_for_ = clock::time_point::max();
        self->turn();
    });
    armed_for_ = next;
}

void dispatcher::async_drain(std::function<void()> when_gone)
{
    on_strand([this, when_gone = std::move(when_gone)]() mutable {
        closed_ = true;
        if (released_)
            return when_gone();
        drains_.push_back(std::move(when_gone));
        serving_ = shared_from_this();
        crew_.watch(serving_);
        turn();
    });
}

} // namespace cofork::detail
