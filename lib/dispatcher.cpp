#include "dispatcher.hpp"

#include "place_registry.hpp"
#include "process.hpp"
#include "threads.hpp"

#include <cofork/error.hpp>

#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>
#include <asio/strand.hpp>

#include <algorithm>
#include <csignal>
#include <system_error>
#include <utility>

#include <sys/wait.h>

namespace cofork::detail {

namespace {

using namespace std::chrono_literals;

/// A first worker needs about this long to boot; a call that is over by then needs no second one.
constexpr auto first_growth = 2ms;
constexpr auto next_growths = 500us;
/// How long items may wait in the pipe of one worker before others are asked to take them.
constexpr auto patience = 2ms;
/// How often a gated call looks whether the item before the next has really begun.
constexpr auto start_poll = 250us;
constexpr auto progress_tick = 100ms;

/// Workers that end by themselves before their first item: so many in so long, and the call fails.
constexpr std::size_t most_early_ends = 5;
constexpr auto early_ends_within = 10s;
/// A refused fork is tried again after 10 ms, 20 ms, ... while no worker is left, this often.
constexpr unsigned most_refusals = 6;

std::exception_ptr failed_call(errc why, const std::string& text)
{
    return std::make_exception_ptr(std::system_error{make_error_code(why), text});
}

std::exception_ptr failed_call(std::error_code why)
{
    return std::make_exception_ptr(std::system_error{why});
}

} // namespace

dispatcher::dispatcher(const asio::any_io_executor& ex, const dispatcher_setup& setup)
    : strand_{asio::make_strand(ex)}, setup_{setup}, slots_(setup.workers), timer_{strand_}
{
}

dispatcher::~dispatcher()
{
    release();
}

void dispatcher::fork_now()
{
    if (worker_depth > deepest_worker)
        throw std::system_error{make_error_code(errc::nested_too_deep)};
    if (!setup_.with_threads && other_threads() != 0u)
        throw std::system_error{make_error_code(errc::threads_running)};
    try {
        nursery_ = std::make_shared<nursery_client>(
            strand_, static_cast<std::uint32_t>(slots_.size()), setup_.inherited, setup_.state, guard_);
    }
    catch (const std::system_error& e) {
        throw std::system_error{make_error_code(errc::spawn_failed), e.what()};
    }
    if (watching_)
        nursery_->watch(shared_from_this());
    place_registry::enlist(strand_, weak_from_this());
}

void dispatcher::add(std::shared_ptr<call> c)
{
    asio::post(strand_, [self = shared_from_this(), c = std::move(c)] {
        const lock held{*self->guard_};
        self->admit(c);
    });
}

void dispatcher::admit(const std::shared_ptr<call>& c)
{
    const entered inside{*this};
    if (closed_ && !c->stopping())
        c->stop(failed_call(make_error_code(errc::pool_closed)), cancel_mode::kill);
    if (released_)
        return c->finish();
    if (calls_.empty())
        allowed_ = std::max(1u, live());
    calls_.push_back(c);
    serving_ = shared_from_this();
    if (c->opts().progress) {
        c->report_progress(clock::now(), busy());
        next_progress_ = std::min(next_progress_, clock::now() + progress_tick);
    }
    watch(true);
    turn();
}

void dispatcher::cancel(std::shared_ptr<call> c, bool kill)
{
    asio::post(strand_, [self = shared_from_this(), c = std::move(c), kill] {
        const lock held{*self->guard_};
        c->stop(failed_call(asio::error::operation_aborted), kill ? cancel_mode::kill : cancel_mode::gentle);
        self->turn();
    });
}

void dispatcher::poke()
{
    asio::post(strand_, [self = shared_from_this()] {
        const lock held{*self->guard_};
        self->turn();
    });
}

void dispatcher::turn() noexcept
{
    if (in_turn_) {
        turn_again_ = true;
        return;
    }
    const auto self = shared_from_this(); // a callback may drop the last owner
    const entered inside{*this};
    in_turn_ = true;
    do {
        turn_again_ = false;
        if (!released_)
            run_turn();
    } while (turn_again_);
    in_turn_ = false;
}

void dispatcher::enter() noexcept
{
    ++inside_;
}

void dispatcher::leave() noexcept
{
    if (--inside_ > 0)
        return;
    const auto self = shared_from_this();
    if (const auto why = std::exchange(shut_down_later_, nullptr))
        shut_down(why);
    if (std::exchange(abandon_later_, false))
        abandon();
}

void dispatcher::run_turn()
{
    const auto now = clock::now();
    sweep();
    apply_stops(now);
    recycle(); // before idle workers get more
    assign(now);
    if (now >= next_look_)
        look(now);
    report(now);
    finish_calls();
    if (!released_)
        arm(now);
}

void dispatcher::on_report(const nursery_report& report) noexcept
{
    const auto& l = report.slot < slots_.size() ? slots_[report.slot] : nullptr;
    if (!l || l->generation() != report.generation)
        return;
    if (report.news == nursery_news::spawned) {
        ++stats_.spawned;
        refusals_ = 0;
        l->on_spawned(report.pid);
        return;
    }
    const std::shared_ptr<link> keep = l;
    const entered inside{*this};
    if (report.news == nursery_news::refused) {
        refused(clock::now(), report.error);
        keep->on_refused();
    }
    else {
        ++stats_.ended;
        stats_.killed += keep->killed() ? 1 : 0;
        refusals_ = 0; // its process and its descriptors are free for another
        no_spawn_before_ = {};
        note_end(*keep, report);
        keep->on_ended(report);
    }
    turn();
}

/// Keeps a worker that cannot even begin from being forked for ever.
void dispatcher::note_end(const link& l, const nursery_report& report)
{
    const auto now = clock::now();
    if (l.answered() > 0)
        early_ends_.clear();
    if (l.answered() > 0 || l.killed() || l.has_started())
        return;
    const bool by_itself = report.code == CLD_EXITED || (report.status != SIGKILL && report.status != SIGTERM);
    if (!by_itself)
        return;
    std::erase_if(early_ends_, [&](clock::time_point t) { return now - t > early_ends_within; });
    early_ends_.push_back(now);
}

void dispatcher::on_nursery_lost() noexcept
{
    const entered inside{*this};
    // Its workers die with it (PR_SET_PDEATHSIG). What they had finished is in the pipes and pages, what they had
    // not started goes to workers of a new nursery.
    for (const auto& l : slots_) {
        if (l)
            l->take_back(); // its worker may live a moment longer, and must not start what another one gets now
    }
    const auto lost = std::move(nursery_);
    lost->end();
    const bool nested = std::exchange(in_turn_, true); // nothing new before all are judged
    for (const auto& l : slots_) {
        if (l) {
            ++stats_.ended;
            l->on_ended({});
        }
    }
    in_turn_ = nested;
    turn();
}

/// Frees the slots of workers that are gone.
void dispatcher::sweep()
{
    for (auto& l : slots_) {
        if (!l || !l->gone())
            continue;
        if (!l->unfit().empty())
            last_unfit_ = l->unfit();
        l.reset();
    }
    if (early_ends_.size() >= most_early_ends && !calls_.empty()) {
        fail_all(failed_call(errc::boot_failed, last_unfit_.empty() ? "workers end before their first item" : last_unfit_));
        early_ends_.clear();
    }
    if (refusals_ > 0 && live_or_ending() == 0 && (stats_.spawned == 0 || refusals_ >= most_refusals)) {
        fail_all(failed_call(errc::spawn_failed, std::system_category().message(refused_error_)));
        refusals_ = 0;
    }
}

void dispatcher::fail_all(const std::exception_ptr& why)
{
    for (const auto& c : calls_)
        c->stop(why, cancel_mode::kill);
}

void dispatcher::apply_stops(clock::time_point now)
{
    for (const auto& c : calls_) {
        if (now >= c->deadline() && !c->stopping())
            c->stop(failed_call(make_error_code(errc::deadline)), cancel_mode::kill);
    }
    for (const auto& l : slots_) {
        if (!l || !l->owner() || !l->owner()->stopping())
            continue;
        if (l->owner()->must_kill())
            l->kill(kill_reason::cancelled);
        else if (l->waiting() > 0)
            l->take_back();
    }
}

void dispatcher::assign(clock::time_point now)
{
    wanting_ = false;
    grow(now);
    for (std::size_t idle_rounds = 0; idle_rounds < calls_.size();) {
        const std::shared_ptr<call> c = calls_.front();
        calls_.pop_front();
        calls_.push_back(c);
        idle_rounds = assign_one(c, now) ? 0 : idle_rounds + 1;
    }
}

/// More workers, the longer items wait: twice as many every half millisecond.
void dispatcher::grow(clock::time_point now)
{
    if (!growing_ || now < next_growth_)
        return;
    allowed_ = std::min(setup_.workers, std::max(allowed_, live()) * 2);
    next_growth_ = now + next_growths;
    growing_ = false;
}

bool dispatcher::assign_one(const std::shared_ptr<call>& c, clock::time_point now)
{
    if (c->stopping() || (c->gated() && !gate_known(*c)))
        return false;
    const unsigned held = static_cast<unsigned>(std::count_if(
        slots_.begin(), slots_.end(), [&](const auto& l) { return l && l->owner() == c.get() && !l->gone(); }));
    const unsigned most = std::min(setup_.workers, std::max(c->opts().workers, 1u));
    std::shared_ptr<link> target = held < most ? idle_link() : nullptr;
    const bool make_one = !target && held < most && may_spawn(now);
    if (!target && !make_one && c->prefetch())
        target = shortest_link(*c);
    if (!target && !make_one) {
        wanting_ = wanting_ || held < most;
        return false;
    }
    auto items = c->take(now, most, allowance(target.get()));
    if (!items)
        return false;
    try {
        if (!target)
            target = new_link(now);
    }
    catch (const std::system_error& e) { // no descriptors, as a rule: go on with the workers that there are
        c->give_back(std::move(*items));
        spawn_failed(now, e);
        return false;
    }
    if (c->opts().timeout.count() > 0)
        next_look_ = std::min(next_look_, now + c->opts().timeout);
    if (items->count > 1 || !target->idle())
        next_look_ = std::min(next_look_, now + patience);
    target->dispatch(c, std::move(*items));
    return true;
}

void dispatcher::spawn_failed(clock::time_point now, const std::system_error& why)
{
    turn_again_ = true; // sweep() and apply_stops() decide whether this is the end
    if (!nursery_ && why.code() == errc::threads_running) // lost, and now there are threads: no second one can be made
        return fail_all(failed_call(make_error_code(errc::nursery_lost)));
    refused(now, why.code().value());
}

/// A fork or a pipe was refused: not again before a while, which doubles.
void dispatcher::refused(clock::time_point now, int error)
{
    refused_error_ = error;
    ++refusals_;
    no_spawn_before_ = now + 10ms * (1 << std::min(refusals_, 6u));
}

/// A gate counts from the moment when an item really started, which only the worker knows. While one of this call's
/// items is on its way to its start, nobody knows when the next may follow.
bool dispatcher::gate_known(call& c)
{
    for (const auto& l : slots_) {
        if (!l || l->owner() != &c)
            continue;
        if (l->waiting_to_start()) {
            next_look_ = std::min(next_look_, clock::now() + start_poll);
            return false;
        }
        if (const auto since = l->running_since())
            c.started(*since);
    }
    return true;
}

bool dispatcher::may_spawn(clock::time_point now)
{
    if (live() >= setup_.workers || now < no_spawn_before_)
        return false;
    if (std::none_of(slots_.begin(), slots_.end(), [](const auto& l) { return !l; }))
        return false;
    return live() < allowed_;
}

std::shared_ptr<link> dispatcher::idle_link() const
{
    for (const auto& l : slots_) {
        if (l && l->alive() && l->idle() && allowance(l.get()) > 0)
            return l;
    }
    return nullptr;
}

std::shared_ptr<link> dispatcher::shortest_link(const call& c) const
{
    for (const auto& l : slots_) {
        if (l && l->alive() && l->owner() == &c && l->batches() < 2 && allowance(l.get()) > 0)
            return l;
    }
    return nullptr;
}

std::shared_ptr<link> dispatcher::new_link(clock::time_point now)
{
    if (!nursery_)
        fork_now(); // the first one of a pool is made early; here only after it was lost
    const auto free = std::find(slots_.begin(), slots_.end(), nullptr);
    const auto slot = static_cast<std::uint32_t>(free - slots_.begin());
    *free = link::start(strand_, *nursery_, slot, ++generations_, *this, guard_);
    if (live() == 1)
        next_growth_ = now + first_growth;
    return *free;
}

unsigned dispatcher::live() const noexcept
{
    return static_cast<unsigned>(std::count_if(slots_.begin(), slots_.end(), [](const auto& l) { return l && l->alive(); }));
}

unsigned dispatcher::live_or_ending() const noexcept
{
    return static_cast<unsigned>(std::count_if(slots_.begin(), slots_.end(), [](const auto& l) { return l && !l->gone(); }));
}

unsigned dispatcher::busy() const noexcept
{
    return static_cast<unsigned>(
        std::count_if(slots_.begin(), slots_.end(), [](const auto& l) { return l && l->alive() && !l->idle(); }));
}

/// Timeouts; results that wait in a page; items that wait behind a long one while a worker is free.
void dispatcher::look(clock::time_point now)
{
    next_look_ = clock::time_point::max();
    const bool free_hands = idle_link() || live() < setup_.workers;
    for (const auto& l : slots_) {
        if (!l || !l->alive())
            continue;
        if (const auto again = l->look(now))
            next_look_ = std::min(next_look_, *again);
        if (!l->alive() || l->waiting() == 0)
            continue;
        const auto since = l->running_since();
        if (free_hands && since && now - *since > patience) {
            l->take_back();
            turn_again_ = true;
        }
        else
            next_look_ = std::min(next_look_, now + patience);
    }
    turn_again_ = turn_again_ || std::any_of(slots_.begin(), slots_.end(), [](const auto& l) { return l && l->alive() && l->idle(); });
}

void dispatcher::report(clock::time_point now)
{
    const bool due = now >= next_progress_;
    bool any = false;
    for (const auto& c : calls_) {
        if (!c->opts().progress)
            continue;
        any = true;
        if (due || c->progressed())
            c->report_progress(now, busy());
    }
    if (!any)
        next_progress_ = clock::time_point::max();
    else if (due)
        next_progress_ = now + progress_tick;
}

/// How many more items a worker may get before it is replaced; of a new one, when there is none.
std::size_t dispatcher::allowance(const link* l) const noexcept
{
    const std::size_t most = setup_.fresh ? 1 : setup_.max_items;
    const std::size_t had = l ? l->answered() + l->held_items() : 0;
    return most == 0 ? std::size_t(-1) : most - std::min(most, had);
}

void dispatcher::recycle()
{
    for (const auto& l : slots_) {
        if (l && l->alive() && l->idle() && allowance(l.get()) == 0)
            l->retire();
    }
}

void dispatcher::finish_calls()
{
    for (std::size_t i = 0; i < calls_.size();) {
        if (!calls_[i]->over()) {
            ++i;
            continue;
        }
        const std::shared_ptr<call> c = calls_[i];
        calls_.erase(calls_.begin() + static_cast<std::ptrdiff_t>(i));
        c->report_progress(clock::now(), busy(), true);
        stats_.done += c->done();
        finish(c);
    }
    if (!calls_.empty() || released_)
        return;
    serving_.reset();
    watch(false);
    armed_for_ = clock::time_point::max();
    next_look_ = clock::time_point::max();
    timer_.cancel();
    if (when_idle_)
        asio::post(strand_, std::exchange(when_idle_, nullptr));
}

void dispatcher::finish(const std::shared_ptr<call>& c)
{
    if (!one_call || !nursery_)
        return c->finish();
    // Reaped before the caller goes on: when it looks, there is no worker.
    for (const auto& l : slots_) {
        if (l)
            l->detach();
    }
    slots_.assign(slots_.size(), nullptr);
    ending_ = c;
    nursery_->async_end([self = shared_from_this()] {
        const lock held{*self->guard_};
        self->nursery_.reset();
        if (const auto last = std::exchange(self->ending_, nullptr))
            last->finish();
    });
}

void dispatcher::watch(bool on)
{
    if (watching_ == on)
        return;
    watching_ = on;
    if (!nursery_)
        return;
    if (on)
        nursery_->watch(shared_from_this());
    else
        nursery_->unwatch();
}

void dispatcher::arm(clock::time_point now)
{
    if (calls_.empty())
        return;
    auto next = std::min(next_look_, next_progress_);
    for (const auto& c : calls_) {
        next = std::min(next, c->deadline());
        if (const auto gate = c->waits_until(now))
            next = std::min(next, *gate);
    }
    if (wanting_ && live() < setup_.workers) {
        growing_ = true;
        next = std::min(next, std::max(next_growth_, no_spawn_before_));
    }
    if (next >= armed_for_)
        return; // it fires earlier than needed and looks again: cheaper than setting it anew every time
    armed_for_ = next;
    timer_.expires_at(next);
    timer_.async_wait([self = shared_from_this()](std::error_code ec) {
        if (ec)
            return;
        const lock held{*self->guard_};
        self->armed_for_ = clock::time_point::max();
        self->turn();
    });
}

void dispatcher::async_drain(std::function<void()> when_idle)
{
    asio::post(strand_, [self = shared_from_this(), when_idle = std::move(when_idle)]() mutable {
        const lock held{*self->guard_};
        self->closed_ = true;
        auto reap = [self, when_idle = std::move(when_idle)] {
            const lock again{*self->guard_};
            self->release();
            when_idle();
        };
        if (self->calls_.empty())
            reap();
        else
            self->when_idle_ = std::move(reap);
    });
}

void dispatcher::shut_down(const std::exception_ptr& why) noexcept
{
    const lock held{*guard_};
    closed_ = true;
    if (inside_ > 0) { // from a callback of a call: after it has returned
        fail_all(why);
        shut_down_later_ = why;
        return;
    }
    auto calls = std::exchange(calls_, {});
    if (ending_)
        calls.push_back(std::exchange(ending_, nullptr));
    release();
    for (const auto& c : calls)
        c->finish(why);
}

void dispatcher::abandon() noexcept
{
    const lock held{*guard_};
    closed_ = true;
    if (inside_ > 0) {
        abandon_later_ = true;
        return;
    }
    auto calls = std::exchange(calls_, {});
    if (ending_)
        calls.push_back(std::exchange(ending_, nullptr));
    release();
    for (const auto& c : calls)
        c->the_job()->abandon();
}

void dispatcher::abandon(const std::shared_ptr<call>& c) noexcept
{
    if (one_call)
        return abandon();
    const lock held{*guard_};
    c->stop(failed_call(asio::error::operation_aborted), cancel_mode::kill);
    asio::post(strand_, [self = shared_from_this()] {
        const lock again{*self->guard_};
        self->turn();
    });
}

/// Kills and reaps every process and lets go of every descriptor.
void dispatcher::release() noexcept
{
    released_ = true;
    timer_.cancel();
    for (const auto& l : slots_) {
        if (l)
            l->detach();
    }
    if (nursery_)
        nursery_->end();
    nursery_.reset();
    slots_.clear();
    serving_.reset();
}

pool_stats dispatcher::stats() const
{
    const lock held{*guard_};
    pool_stats now = stats_;
    for (const auto& c : calls_)
        now.done += c->done();
    now.workers = live();
    now.busy = busy();
    now.calls = calls_.size();
    return now;
}

} // namespace cofork::detail
