#pragma once
// Calls on one side, workers on the other: decides who works on what, and when workers come and go.

#include "call_queue.hpp"
#include "crew.hpp"
#include "crowd.hpp"
#include "known_costs.hpp"
#include "place_registry.hpp"
#include "process.hpp"

#include <cofork/pool.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <vector>

namespace cofork::detail {

/// One place: its workers and the calls that they serve.
///
/// Everything runs on `executor()`, a strand; the mutex is for the destructor of a pool, which may come from another
/// thread.
class dispatcher final : public link_user,
                         public nursery_user,
                         public registered_place,
                         public std::enable_shared_from_this<dispatcher> {
public:
    dispatcher(const asio::any_io_executor& ex, const crew_setup& setup);
    ~dispatcher();

    /// Both are empty once the context is gone.
    const asio::any_io_executor& executor() const noexcept { return strand_; }
    const asio::any_io_executor& io_executor() const noexcept { return io_; }

    /// Forks the nursery. Throws std::system_error: errc::threads_running, and those of fork(2).
    void fork_now();

    /// Starts the workers that are to be there always. Throws std::system_error: EMFILE, ENFILE.
    void start_least();
    /// Throws std::system_error, errc::invalid_options. Any thread.
    void resize(unsigned workers);

    /// Begins to serve a call. Any thread.
    void add(std::shared_ptr<call> c);
    void cancel(std::shared_ptr<call> c, bool kill);
    /// There may be something to do; for `c`, when it is known: room for results, or new items.
    void poke(std::shared_ptr<call> c = nullptr);

    /// No new calls; `when_gone` runs on the strand once all present ones are over and the workers are reaped. Any
    /// thread.
    void async_drain(std::function<void()> when_gone);
    /// Ends all calls with `why`, kills and reaps everything; blocks until done. Any thread.
    void shut_down(const std::exception_ptr& why) noexcept;
    /// The same without finishing any call: their handlers are destroyed.
    void abandon() noexcept;
    /// Only this call; in a place of its own that is everything.
    void abandon(const std::shared_ptr<call>& c) noexcept;

    pool_stats stats() const;
    std::vector<worker_state> worker_states() const;
    protection enforced() const;
    bool is_sandboxed() const noexcept { return crew_.is_sandboxed(); }

    /// Whether this process is the one that made it, and not a fork of that.
    const made_here is_original;

    /// End the nursery when the last call is over, before that call finishes: the place of one call.
    bool one_call = false;

    void turn() noexcept override;
    void enter() noexcept override;
    void leave() noexcept override;
    void guess_ended() noexcept override;
    std::shared_ptr<void> hold() noexcept override { return shared_from_this(); }

private:
    using lock = std::unique_lock<std::recursive_mutex>;

    void on_report(const nursery_report& report) noexcept override;
    void on_reports_read() noexcept override { turn(); }
    void on_nursery_lost() noexcept override;
    void context_ended() noexcept override;

    /// Runs `action` on the strand, later, with the lock held.
    template <typename Action>
    void on_strand(Action action);

    void admit(const std::shared_ptr<call>& c);
    void run_turn();
    void assign(clock::time_point now);
    void keep_least(clock::time_point now);
    void say_farewell(clock::time_point now);
    bool assign_one(const std::shared_ptr<call>& c, clock::time_point now);
    void look(clock::time_point now);
    void finish_calls();
    void rest() noexcept;
    void tell_drained();
    void finish(const std::shared_ptr<call>& c);

    void look_after(const link& target, const call& c, std::size_t items, clock::time_point now);
    void spin_from(clock::time_point now);
    void spawn_failed(clock::time_point now, const std::system_error& why);

    void arm(clock::time_point now);
    unsigned most_for(const call& c) const noexcept;
    bool others_want(const call& c, clock::time_point now) const;
    std::vector<std::shared_ptr<call>> take_all_calls() noexcept;
    void release() noexcept;

    asio::any_io_executor io_;
    asio::any_io_executor strand_;
    const bool on_a_loop_; // its context is an io_context, which one thread runs as a rule
    static constexpr unsigned enough_of_one_thread = 1000;
    unsigned of_one_thread_ = enough_of_one_thread; // visits, since there was another than
    std::thread::id thread_;                        // this
    bool beside_before_ = false;                    // of complete_beside()
    std::shared_ptr<std::recursive_mutex> guard_ = std::make_shared<std::recursive_mutex>();
    crew crew_;
    bool in_turn_ = false;
    bool turn_again_ = false;
    bool resting_ = false;           // rest() is on its way
    bool closed_ = false;            // no new calls
    bool released_ = false;          // no processes any more, and none to come
    unsigned inside_ = 0;            // entered and not left: callbacks may be running
    bool abandon_later_ = false;     // asked for by one of them
    std::exception_ptr shut_down_later_;

    std::vector<std::shared_ptr<call>> arriving_; // given to us, and not yet seen on the strand
    call_queue calls_;
    known_costs costs_;
    when_full overload_;
    std::shared_ptr<dispatcher> serving_;     // ourselves while there are calls: nobody else owns a snapshot's place
    std::shared_ptr<call> ending_;           // one_call: over, while its workers are reaped
    std::vector<std::function<void()>> drains_;   // that wait for calls, and then for workers to end by themselves
    clock::time_point farewell_ends_ = clock::time_point::max();

    std::optional<asio::steady_timer> timer_; // none when nothing follows any more
    clock::time_point armed_for_ = clock::time_point::max();
    clock::time_point next_look_ = clock::time_point::max(); // at timeouts, and at results that wait in a page
    bool wanting_ = false; // items wait for a worker
    bool polling_ = false; // the gate waits for what only a page tells: when an item began
    const std::chrono::nanoseconds spin_;
    clock::time_point spins_until_{};
    bool spinning_ = false; // the next look is on its way
    crowd crowd_;
};

} // namespace cofork::detail
