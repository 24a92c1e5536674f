#include "crew.hpp"

#include "failed_call.hpp"
#include "process.hpp"
#include "threads.hpp"

#include <cofork/error.hpp>

#include <algorithm>
#include <csignal>
#include <system_error>
#include <utility>

namespace cofork::detail {

namespace {

using namespace std::chrono_literals;

/// A first worker needs about this long to boot; a call that is over by then needs no second one.
constexpr auto first_growth = 2ms;
constexpr auto doubling = 500us;

/// Workers that end before their first item: after so many, one after the other, calls fail. The next is tried after 10 ms,
/// 20 ms, ... 1 s.
constexpr unsigned most_early_ends = 5;
constexpr auto longest_wait = 1000ms;
/// A worker that is killed while it boots has bad luck. After so many, one after the other, it is its init that has it killed.
constexpr unsigned most_early_kills = 50;
/// Nurseries that are lost, one after the other, before a worker of theirs took items.
constexpr unsigned most_barren = 8;
/// A refused fork is tried again after 10 ms, 20 ms, ... while no worker is left, this often.
constexpr unsigned most_refusals = 6;

} // namespace

crew::crew(
    const asio::any_io_executor& strand, const crew_setup& setup, link_user& user,
    std::shared_ptr<std::recursive_mutex> guard)
    : strand_{strand}, setup_{setup}, user_{user}, guard_{std::move(guard)}, slots_(setup.workers),
      had_one_(setup.workers)
{
}

void crew::fork_nursery()
{
    if (worker_depth > deepest_worker)
        throw std::system_error{make_error_code(errc::nested_too_deep)};
    if (!setup_.with_threads && other_threads() != 0u)
        throw std::system_error{make_error_code(errc::threads_running)};
    try {
        nursery_ = std::make_shared<nursery_client>(
            strand_, static_cast<std::uint32_t>(slots_.size()), setup_.life, setup_.least, guard_);
    }
    catch (const std::system_error& e) {
        throw std::system_error{make_error_code(errc::spawn_failed), e.what()};
    }
    if (listener_)
        nursery_->watch(listener_);
}

void crew::watch(std::shared_ptr<nursery_user> listener)
{
    if (listener_)
        return;
    listener_ = std::move(listener);
    if (nursery_)
        nursery_->watch(listener_);
}

void crew::unwatch() noexcept
{
    listener_.reset();
    if (nursery_)
        nursery_->unwatch();
}

void crew::on_report(const nursery_report& report, clock::time_point now) noexcept
{
    const std::shared_ptr<link> l = report.slot < slots_.size() ? slots_[report.slot] : nullptr;
    if (!l || l->generation() != report.generation)
        return;
    if (report.news == nursery_news::spawned) {
        refusals_ = 0;
        had_one_[report.slot] = true;
        return l->on_spawned(report.pid);
    }
    if (report.news == nursery_news::seen)
        return l->on_seen();
    if (report.news == nursery_news::refused) {
        --spawned_;
        respawned_ -= had_one_[report.slot] ? 1 : 0;
        refused(now, report.error);
        return l->on_refused();
    }
    ++ended_;
    killed_ += l->killed() && report.code == CLD_KILLED && report.status == SIGKILL ? 1 : 0; // else it was faster
    cpu_ += std::chrono::nanoseconds{static_cast<std::int64_t>(report.cpu_ns)};
    peak_memory_ = std::max<std::size_t>(peak_memory_, report.peak_bytes);
    barren_ = l->began() ? 0 : barren_;
    refusals_ = 0; // its process and its descriptors are free for another
    no_spawn_before_ = {};
    l->on_ended(report);
}

void crew::on_nursery_lost(clock::time_point now) noexcept
{
    const bool bore = std::ranges::any_of(links(), [](const auto& l) { return l->began(); });
    barren_ = bore ? 0 : barren_ + 1;
    if (!bore)
        no_spawn_before_ = now + 10ms * (1 << std::min(barren_, 6u));
    for (const auto& l : links())
        l->take_back(); // its worker may live a moment longer, and must not start what another one gets now
    const auto lost = std::move(nursery_);
    lost->end();
    for (const auto& l : links()) {
        ++ended_;
        l->on_ended({});
    }
}

unsigned crew::not_gone() const noexcept
{
    return static_cast<unsigned>(std::ranges::count_if(links(), [](const auto& l) { return !l->gone(); }));
}

unsigned crew::busy() const noexcept
{
    return static_cast<unsigned>(
        std::ranges::count_if(links(), [](const auto& l) { return l->alive() && !l->idle(); }));
}

unsigned crew::serving(const call& c) const noexcept
{
    unsigned all = 0;
    each_busy([&](const auto& l) {
        all += l->owner() == &c && !l->gone() ? 1 : 0;
        return true;
    });
    return all;
}

std::shared_ptr<link> crew::idle(bool unused) const
{
    std::shared_ptr<link> found;
    for (const auto& l : links()) {
        if (!l->alive() || !l->idle() || allowance(l.get()) == 0 || (unused && l->answered() > 0))
            continue;
        if (!l->sends())
            return l;
        found = l; // it has to read what it need not do, first
    }
    return found;
}

std::shared_ptr<link> crew::shortest(const call& c) const
{
    // Behind an item that takes long nothing is to wait where another worker is free or may come: look() would take it back, and
    // what lies in a pipe calls for no worker.
    const bool others = free_hands();
    std::shared_ptr<link> found;
    each_busy([&](const auto& l) {
        if (l->alive() && l->owner() == &c && l->batches() < 2 && allowance(l.get()) > 0 && !(others && holds_up(*l, now_)))
            found = l;
        return !found;
    });
    return found;
}

std::size_t crew::allowance(const link* l) const noexcept
{
    if (l && l->spent())
        return 0;
    if (l && setup_.max_age.count() > 0 && now_ - l->born() >= setup_.max_age)
        return 0;
    const std::size_t most = setup_.fresh ? 1 : setup_.max_items;
    const std::size_t had = l ? l->answered() + l->held_items() : 0;
    return most == 0 ? std::size_t(-1) : most - std::min(most, had);
}

clock::time_point crew::wait_for_more() noexcept
{
    if (live() >= setup_.workers || !has_free_slot())
        return clock::time_point::max(); // the end of one is a turn by itself
    growing_ = true;
    return std::max({next_growth_, no_spawn_before_, no_boot_before_});
}

/// More workers, the longer items wait: twice as many every half millisecond, but one at a time. Each is half a dozen system
/// calls, for which the program's loop stands still.
void crew::grow(clock::time_point now) noexcept
{
    if (!growing_ || now < next_growth_)
        return;
    const unsigned there = std::max({allowed_, live(), 1u});
    allowed_ = std::min(setup_.workers, there + 1);
    next_growth_ = now + doubling / there;
    growing_ = false;
}

bool crew::may_hire(clock::time_point now) const noexcept
{
    const unsigned there = live();
    return there < setup_.workers && there < allowed_ && now >= no_spawn_before_ && now >= no_boot_before_ &&
           has_free_slot();
}

bool crew::has_free_slot() const noexcept
{
    return std::ranges::find(slots_, nullptr) != slots_.end();
}

std::shared_ptr<link> crew::hire(clock::time_point now)
{
    const auto free = std::ranges::find(slots_, nullptr);
    const auto slot = static_cast<std::uint32_t>(free - slots_.begin());
    *free = link::start(strand_, *nursery_, slot, ++generations_, user_, guard_);
    (*free)->begin(now, {setup_.counts.get(), &roll_, had_one_[slot], setup_.boot_timeout,
                            setup_.life.ender ? farewell : link::silence, setup_.rules.get()});
    ++spawned_; // its replies may come before the news of it
    respawned_ += had_one_[slot] ? 1 : 0;
    const unsigned there = live();
    next_growth_ = there == 1 ? now + first_growth : clock::now() + doubling / there; // the nursery may have had our processor
    return *free;
}

void crew::refused(clock::time_point now, int error) noexcept
{
    refused_error_ = error;
    ++refusals_;
    no_spawn_before_ = now + 10ms * (1 << std::min(refusals_, 6u));
}

void crew::keep_least(clock::time_point now)
{
    const unsigned least = std::min(setup_.least, setup_.workers);
    allowed_ = std::max(allowed_, least);
    while (live() < least && may_hire(now))
        hire(now);
}

void crew::dismiss() noexcept
{
    for (const auto& l : links())
        l->retire();
}

bool crew::recycle()
{
    bool any = false;
    const unsigned there = live();
    unsigned too_many = there - std::min(there, setup_.workers);
    const bool anybody_may_go = setup_.max_age.count() > 0 || setup_.max_items > 0 || setup_.fresh;
    if (too_many == 0 && roll_.leaving == 0 && !anybody_may_go)
        return false;
    for (const auto& l : links() | std::views::reverse) { // the first ones are to be kept
        if (l->alive() && l->idle() && (too_many > 0 || allowance(l.get()) == 0)) {
            l->retire();
            too_many -= too_many > 0 ? 1 : 0;
        }
        any = any || (l->retiring() && !l->gone());
    }
    return any;
}

bool crew::replace_used()
{
    for (const auto& l : links()) {
        if (l->alive() && l->idle() && l->answered() > 0) {
            l->spend();
            return recycle();
        }
    }
    return false;
}

void crew::sweep(clock::time_point now)
{
    now_ = now;
    const auto later_and_ready = [&](const auto& l) { return l->began() && l->born() > last_early_end_; };
    if (early_ends_ + early_kills_ > 0 && std::ranges::any_of(links(), later_and_ready))
        early_ends_ = early_kills_ = 0;
    if (roll_.gone == 0)
        return;
    for (auto& l : slots_) {
        if (!l || !l->gone())
            continue;
        l->strike_off();
        if (l->ready())
            enforced_ = enforced_ ? *enforced_ & l->enforced() : l->enforced();
        if (!l->unfit().empty())
            last_unfit_ = l->unfit();
        if (setup_.life.state && l->killed_before_it_began()) {
            ++early_kills_;
            last_early_end_ = now;
        }
        if (l->failed_to_begin() || (l->killed_before_it_began() && early_kills_ > most_early_kills)) {
            no_boot_before_ = now + std::min<clock::duration>(10ms * (1 << std::min(early_ends_, 10u)), longest_wait);
            ++early_ends_;
            early_end_ = true;
            last_early_end_ = now;
        }
        l.reset();
    }
}

protection crew::enforced() const noexcept
{
    std::optional<protection> all = enforced_;
    for (const auto& l : links()) {
        if (l->ready())
            all = all ? *all & l->enforced() : l->enforced();
    }
    return all.value_or(protection::none);
}

std::exception_ptr crew::hopeless()
{
    if (early_ends_ >= most_early_ends && std::exchange(early_end_, false)) {
        return failed_call(
            errc::boot_failed, last_unfit_.empty() ? "workers end before their first item" : last_unfit_);
    }
    if (barren_ >= most_barren) {
        barren_ = 0;
        return failed_call(errc::nursery_lost);
    }
    if (refusals_ > 0 && not_gone() == 0 && (spawned_ == 0 || refusals_ >= most_refusals)) {
        refusals_ = 0;
        return failed_call(errc::spawn_failed, std::system_category().message(refused_error_));
    }
    return nullptr;
}

void crew::detach() noexcept
{
    for (const auto& l : links())
        l->detach();
}

void crew::async_end(std::function<void()> done)
{
    detach();
    slots_.assign(slots_.size(), nullptr);
    nursery_->async_end(std::move(done));
}

void crew::end() noexcept
{
    detach();
    if (nursery_)
        nursery_->end();
    nursery_.reset();
    listener_.reset();
    slots_.clear();
}

} // namespace cofork::detail
