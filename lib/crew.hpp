#pragma once
// The workers of one place: which there are and which are free, when there may be more, and when to give up.

#include "link.hpp"
#include "nursery_client.hpp"

#include <cofork/pool.hpp>

#include <asio/any_io_executor.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <string>
#include <vector>

namespace cofork::detail {

/// A page and some kernel memory each: more is a slip of the pen.
inline constexpr unsigned max_workers = 65536;

struct crew_setup {
    unsigned workers;          ///< most at once, at least 1
    unsigned least = 0;        ///< started first, and kept
    worker_life life{};
    std::shared_ptr<const sandbox_rules> rules{}; ///< of life
    bool with_threads = false;
    bool fresh = false;        ///< a new process for every item
    std::size_t max_items = 0; ///< recycle a worker after so many; 0 = never
    std::chrono::nanoseconds max_age{0};      ///< or when it is so old; 0 = never
    std::chrono::nanoseconds boot_timeout{0}; ///< kill it when it is not ready by then; 0 = never
    std::size_t max_calls = 0; ///< that are served at once; 0 = any number
    when_full overload = when_full::wait;
    std::chrono::nanoseconds spin{0}; ///< see pool_options
    std::shared_ptr<tally> counts = std::make_shared<tally>();
};

/// Used on the strand of its place, which serialises everything.
class crew {
public:
    crew(
        const asio::any_io_executor& strand, const crew_setup& setup, link_user& user,
        std::shared_ptr<std::recursive_mutex> guard);

    // The nursery.

    /// Throws std::system_error: errc::threads_running, errc::nested_too_deep, errc::spawn_failed.
    void fork_nursery();
    bool has_nursery() const noexcept { return nursery_ != nullptr; }
    /// While somebody listens to its reports, the context has work.
    void watch(std::shared_ptr<nursery_user> listener);
    void unwatch() noexcept;
    void on_report(const nursery_report& report, clock::time_point now) noexcept;
    /// It ended, and its workers with it. What they had finished is in the pipes and pages; what they had not started
    /// goes back to its calls.
    void on_nursery_lost(clock::time_point now) noexcept;

    // Who is there.

    auto links() const
    {
        return slots_ | std::views::filter([](const std::shared_ptr<link>& l) { return l != nullptr; });
    }
    unsigned most() const noexcept { return setup_.workers; }
    unsigned live() const noexcept { return roll_.alive; }
    unsigned busy() const noexcept;
    unsigned serving(const call& c) const noexcept;
    /// One that has nothing to do; `unused`: and has never had.
    std::shared_ptr<link> idle(bool unused = false) const;
    /// Lets one that is idle, and not unused, make room for a new process. Returns whether there is one.
    bool replace_used();
    /// One that works for `c` already and has room for a second batch.
    std::shared_ptr<link> shortest(const call& c) const;
    /// How many more items a worker may get before it is replaced; of a new one, when there is none.
    std::size_t allowance(const link* l) const noexcept;
    void count_into(pool_stats& s) const noexcept;
    /// The numbers of the processes that have not ended, as far as they are known.
    std::vector<int> living() const;
    const std::shared_ptr<tally>& counts() const noexcept { return setup_.counts; }
    std::vector<worker_state> states(clock::time_point now) const;

    // Who comes and goes.

    /// Hires as many as are to be there always. Throws as hire().
    void keep_least(clock::time_point now);
    /// From now on at most so many. Precondition: at least 1, and not more than there were at first.
    void resize(unsigned workers) noexcept { setup_.workers = workers; }
    unsigned largest() const noexcept { return static_cast<unsigned>(slots_.size()); }
    /// Nobody is needed any more: all end, in an orderly way. Precondition: all are idle.
    void dismiss() noexcept;
    bool anybody() const noexcept { return not_gone() > 0; }
    /// Something is on its way to a worker.
    bool sends() const noexcept { return roll_.sends > 0; }
    /// What is on in every worker that was ready so far.
    protection enforced() const noexcept;
    bool is_sandboxed() const noexcept { return setup_.rules != nullptr; }
    bool has_ender() const noexcept { return setup_.life.ender != nullptr; }
    std::chrono::nanoseconds boot_timeout() const noexcept { return setup_.boot_timeout; }

    /// A call begins where there was none: one worker, and more only while items wait.
    void start_small() noexcept { allowed_ = std::max(1u, live()); }
    /// Items wait for a worker. Returns when there may be one more.
    clock::time_point wait_for_more() noexcept;
    void grow(clock::time_point now) noexcept;
    bool may_hire(clock::time_point now) const noexcept;
    /// Throws std::system_error of fork_nursery() and of link::start(). Precondition: may_hire(), has_nursery().
    std::shared_ptr<link> hire(clock::time_point now);
    /// A fork or a pipe was refused: not again before a while, which doubles.
    void refused(clock::time_point now, int error) noexcept;
    /// Lets those go that have had all the items that they may have. Returns whether some are on their way: look() sees to
    /// it that they get there.
    bool recycle();
    /// Frees the slots of workers that are gone.
    void sweep(clock::time_point now);
    /// Why it is no use to go on, when that is so; then counts from the start again.
    std::exception_ptr hopeless();

    // What they do.

    /// How long items may wait in the pipe of one worker before others are asked to take them.
    static constexpr std::chrono::milliseconds patience{2};
    /// How long a call's items may go on before somebody looks at them: `patience`, or longer where nobody could take them, and
    /// nobody waits for what they result in. Each look takes a processor from those who work.
    std::chrono::milliseconds patience_for(const call& c) const noexcept;
    /// A worker is free, or may come, while items wait behind another's.
    bool could_help() const noexcept;

    struct sight {
        clock::time_point again; ///< when to look again; max() = no need
        bool freed;              ///< a worker is free, or items are
    };
    /// Kills what is over its time, takes results that wait in a page, and takes back items that wait behind a long
    /// one while a worker is free.
    sight look(clock::time_point now);
    /// Takes back what waits behind the items that run.
    void shorten();
    /// Takes back what was given out on a guess, and is more than it seemed.
    void retract();
    /// Ends what stopped calls have running or waiting.
    void apply_stops();
    /// A gate counts from the moment when an item really started, which only its worker knows. Tells `c` about those
    /// that run; false while one is on its way to its start, and nobody knows when the next may follow.
    bool starts_known(call& c) const;

    // How it ends.

    /// So long pool_options::fini may take.
    static constexpr std::chrono::seconds farewell{5};

    /// No worker's news reaches the place any more.
    void detach() noexcept;
    /// detach(), then `done` on the strand once all are reaped.
    void async_end(std::function<void()> done);
    void nursery_ended() noexcept { nursery_.reset(); }
    /// The same, blocking. Afterwards there is no slot for anybody.
    void end() noexcept;
    /// The context is gone.
    void forget_executor() noexcept { strand_ = {}; }

private:
    unsigned not_gone() const noexcept;
    /// Each that has items, until `see(link)` returns false.
    template <typename See>
    void each_busy(See see) const
    {
        unsigned left = roll_.busy;
        for (auto at = slots_.begin(); left > 0 && at != slots_.end(); ++at) {
            if (!*at || (*at)->idle())
                continue;
            --left;
            if (!see(*at))
                return;
        }
    }
    bool has_free_slot() const noexcept;
    /// A worker is idle, or may be hired.
    bool free_hands() const { return idle() || live() < setup_.workers; }
    /// Its present item has run for so long that what waits behind it had better go to somebody else.
    static bool holds_up(const link& l, clock::time_point now) noexcept;

    asio::any_io_executor strand_;
    crew_setup setup_;
    link_user& user_;
    std::shared_ptr<std::recursive_mutex> guard_; // the place's
    std::shared_ptr<nursery_client> nursery_;
    std::shared_ptr<nursery_user> listener_; // while there are calls
    std::vector<std::shared_ptr<link>> slots_; // null: free
    roll roll_; // of these
    std::uint64_t generations_ = 0;
    std::uint64_t spawned_ = 0;
    std::uint64_t ended_ = 0;
    std::uint64_t killed_ = 0;
    std::uint64_t respawned_ = 0;
    std::vector<bool> had_one_;      // slots that have had a worker
    std::chrono::nanoseconds cpu_{0}; // of workers that have ended
    std::size_t peak_memory_ = 0;     // likewise
    unsigned early_ends_ = 0;  // workers that ended before their first item, since one did not
    unsigned early_kills_ = 0; // likewise, and somebody had killed them
    bool early_end_ = false;   // one of these nobody has been told of
    clock::time_point last_early_end_{};
    std::string last_unfit_;
    std::optional<protection> enforced_; // in those that are gone
    unsigned barren_ = 0; // nurseries that were lost before one of their workers took items, since one was not
    clock::time_point no_boot_before_{};
    clock::time_point now_{};  // of this turn
    clock::time_point no_spawn_before_{};
    unsigned refusals_ = 0; // of fork or pipe, since the last success
    int refused_error_ = 0;
    clock::time_point next_growth_{};
    bool growing_ = false;
    unsigned allowed_ = 1; // workers that may exist now: grows while items wait
};

} // namespace cofork::detail
