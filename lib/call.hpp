#pragma once
// One call in progress: what is taken next, what a failure means, when it is over. Knows no process and no pipe.

#include "item_run.hpp"
#include "pace.hpp"
#include "tally.hpp"

#include <cofork/detail/job.hpp>
#include <cofork/detail/place.hpp>
#include <cofork/options.hpp>

#include <chrono>
#include <exception>
#include <list>
#include <memory>
#include <optional>

namespace cofork::detail {

using clock = std::chrono::steady_clock;

/// How a call is ended from outside.
enum class cancel_mode {
    gentle, ///< nothing new starts; what runs may end
    kill,   ///< workers that run its items are killed
};

class dispatcher;

class call final : public call_handle, public std::enable_shared_from_this<call> {
public:
    call(std::shared_ptr<job> work, const options& o, clock::time_point now);

    // From outside, on any thread.

    void cancel(bool kill) noexcept override;
    void poke() noexcept override;
    void abandon() noexcept override;
    /// Set before the call is given to its place.
    std::weak_ptr<dispatcher> home;
    /// Where its place counts what comes of it. Once, before anything starts.
    void count_in(std::shared_ptr<tally> counts) noexcept
    {
        counts_ = std::move(counts);
        measured_ = measured_ || counts_->listener;
    }

    // What may start.

    /// The next items that may start now, at most `most`, or nothing: none are left, the gate is shut, no results are being read.
    /// `alone`: no other call wants the same workers.
    std::optional<item_run> take(
        clock::time_point now, unsigned workers, std::size_t most = std::size_t(-1), bool alone = false);
    /// For how long the results of what was taken last may wait in the page.
    std::chrono::nanoseconds may_wait() const noexcept { return may_wait_; }
    /// Items that were taken and not started come back; they go first.
    void give_back(item_run items);
    /// When the gate opens, if that is all that keeps the next item waiting.
    std::optional<clock::time_point> waits_until(clock::time_point now) const;
    /// An item of this call was seen to have started at `when`; the gate counts from there.
    void started(clock::time_point when) noexcept;
    bool gated() const noexcept { return options_.pause.count() > 0; }

    /// Beginning it takes a moment, and calls none of the program's listeners.
    bool is_brief() const noexcept { return size_ == 1u && !options_.progress && !measured(); }
    /// The program no longer listens to it: what it has lent may be gone.
    void be_silent() noexcept { silent_ = true; }
    /// Whether each item is to be measured, for those who listen to events.
    bool measured() const noexcept { return measured_; }
    /// Whether it counts when each item begins: for its timeout, its gate, or those who are told.
    bool must_be_exact() const noexcept
    {
        return measured_ || gated() || options_.timeout.count() > 0 || options_.slow.count() > 0;
    }
    /// Items are on their way to a worker.
    void given(clock::time_point now) noexcept;
    /// An item is being started.
    void starts(std::uint64_t index, std::uint32_t attempt, unsigned worker, int pid) noexcept;

    // What came of it.

    /// What came of results.
    struct delivered {
        std::uint32_t count = 0;            ///< have become values
        std::optional<failure> undecodable; ///< why the first did not; it is for failed() to tell
    };
    /// Takes the encoded results of the items from `first` on, up to one that it cannot.
    delivered values(std::uint64_t first, const result_run& results, int pid);
    /// Of each that values() took: counts how long it ran, and tells.
    void succeeded(std::uint64_t index, std::uint32_t attempt, const attempt_facts& by)
    {
        ended(event_kind::finish, index, attempt, by, nullptr);
    }
    /// An attempt failed: `why` lacks index and attempts. Starts the item again or ends it.
    void failed(item_run one, failure why, const attempt_facts& by);
    /// To those who listen. `e` lacks what concerns this call.
    void tell(event e) noexcept;
    /// An item runs for longer than options::slow.
    void is_slow(const slow_item& which) noexcept;
    void cost(std::size_t items, std::chrono::nanoseconds busy) noexcept;
    /// What its items cost, in nanoseconds: by an earlier call, and as it was seen in this one.
    void expect_cost(double ns) noexcept { batches_.expect(ns); }
    std::optional<double> item_cost() const noexcept { return batches_.cost(); }
    /// What they cost is by an earlier call only.
    bool guesses() const noexcept { return batches_.guesses(); }
    /// What its items cost is known, and their results are of use only together.
    bool is_unhurried() const noexcept { return all_at_once_ && !gated() && batches_.cost().has_value(); }
    /// So many take longer than any batch should, as is known by now.
    bool is_too_much(std::size_t items) const noexcept { return batches_.is_too_much(items); }
    /// Functions are known by this to known_costs; 0 = it is no use to know this one.
    std::size_t function() const noexcept;

    // How it ends.

    /// Nothing new starts from now on. The first reason given is the one that counts.
    void stop(std::exception_ptr why, cancel_mode mode) noexcept;
    bool stopping() const noexcept { return stopping_; }
    bool must_kill() const noexcept { return mode_ == cancel_mode::kill; }
    /// Nothing is left to start or to wait for.
    bool over();
    void finish(std::exception_ptr instead = nullptr) noexcept;

    const options& opts() const noexcept { return options_; }
    const std::shared_ptr<job>& the_job() const noexcept { return job_; }
    bool prefetch(bool alone) const noexcept { return !gated() && !options_.fresh && batches_.prefetch(alone); }
    /// Nothing runs and nothing waits to be started again.
    bool idle() const noexcept { return running_ == 0 && again_.empty(); }
    clock::time_point deadline() const noexcept { return deadline_; }
    void report_progress(clock::time_point now, unsigned busy, bool last = false) noexcept;

    std::uint64_t number() const noexcept { return number_; }
    /// It would take a worker now, as far as is known.
    bool wants(clock::time_point now) const noexcept
    {
        const bool has_new = !exhausted_ && !full_ && (!starved_ || poked_) && remaining() != std::size_t{0};
        return !stopping_ && gate_.open(now) && (!again_.empty() || has_new);
    }
    /// The input may have grown, or there is room for results.
    void poked() noexcept
    {
        poked_ = true;
        full_ = false;
    }
    /// Items that are to be started, as far as is known.
    std::size_t queued() const noexcept;
    /// Items were settled since the last report.
    bool progressed() const noexcept { return progress_.done + progress_.retried != reported_; }

private:
    void look_ahead();
    std::optional<item_run> take_new(std::size_t limit);
    std::optional<item_run> pull(std::size_t limit);
    std::size_t batch_limit(unsigned workers, bool alone);
    std::optional<std::size_t> remaining() const;
    bool again_allowed(const failure& why) const noexcept;
    void settled(std::uint32_t items) noexcept
    {
        running_ -= items;
        unsettled_ -= items;
        progress_.done += items;
        if (counts_)
            counts_->done += items;
    }
    void settled(failure_kind failed) noexcept;
    /// An attempt is over.
    void ended(event_kind what, std::uint64_t index, std::uint32_t attempt, const attempt_facts& by, const failure* why)
    {
        if (counts_) {
            counts_->run.add(by.ran_class);
            counts_->last_run_class = by.ran_class;
        }
        if (measured_)
            tell_end(what, index, attempt, by, why);
    }
    void tell_end(event_kind what, std::uint64_t index, std::uint32_t attempt, const attempt_facts& by, const failure* why);

    std::shared_ptr<job> job_;
    std::uint64_t number_;
    bool given_any_ = false;
    options options_;
    bool measured_;
    bool silent_ = false;
    std::shared_ptr<tally> counts_;
    gate gate_;
    clock::time_point last_start_ = clock::time_point::min();
    batch_size batches_;
    std::chrono::nanoseconds may_wait_{0};
    bool all_at_once_ = false; ///< results are of use only together
    clock::time_point started_at_;
    clock::time_point deadline_;
    std::list<item_run> again_; ///< taken once and not started, or to be started again; before anything new
    std::uint64_t next_ = 0;     ///< index of the next new item
    std::optional<std::size_t> size_;
    bool exhausted_ = false; ///< the input has no more
    bool starved_ = false;   ///< the input had nothing when it was last asked
    bool poked_ = false;     ///< and something may have come since then
    bool full_ = false;      ///< there was no room for more results when it was last asked
    std::size_t running_ = 0;   ///< items that workers hold
    std::size_t unsettled_ = 0; ///< items taken from the input that have no outcome yet
    progress_state progress_;
    std::size_t reported_ = 0;
    bool stopping_ = false;
    cancel_mode mode_ = cancel_mode::gentle;
    std::exception_ptr why_;
};

} // namespace cofork::detail
