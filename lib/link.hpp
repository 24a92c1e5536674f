#pragma once
// One worker as the parent sees it: what it holds, what it has answered, whom to blame when it ends.

#include "blame.hpp"
#include "call.hpp"
#include "channel.hpp"
#include "held_items.hpp"
#include "inbox.hpp"
#include "nursery_client.hpp"
#include "outbox.hpp"
#include "page_view.hpp"
#include "roll.hpp"

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace cofork::detail {

struct report;

class link_user {
public:
    /// Something changed: items were settled, or the worker ended and its slot is free.
    virtual void turn() noexcept = 0;
    /// Between these the program's callbacks may run. One that ends the place ends it at the outermost leave().
    virtual void enter() noexcept = 0;
    virtual void leave() noexcept = 0;
    /// What was given out on a guess of its cost has been measured. Between two replies.
    virtual void guess_ended() noexcept = 0;
    /// Keeps it alive: the end of the last call may let go of it.
    virtual std::shared_ptr<void> hold() noexcept = 0;

protected:
    ~link_user() = default;
};

class entered {
public:
    explicit entered(link_user& user) noexcept : keep_{user.hold()}, user_{user} { user_.enter(); }
    ~entered() { user_.leave(); }
    entered(const entered&) = delete;
    entered& operator=(const entered&) = delete;

private:
    std::shared_ptr<void> keep_; // until after leave()
    link_user& user_;
};

/// What a worker is started under.
struct link_terms {
    tally* counts;                  ///< of its place, which outlives it
    roll* all;                      ///< where it is counted, until it is struck off
    bool successor;                 ///< of another worker in its slot
    std::chrono::nanoseconds boot;  ///< it may take so long to get ready; 0 = for ever
    std::chrono::nanoseconds leave; ///< and so long to go when it is told to
    const sandbox_rules* rules;     ///< null: none
};

class link final : public channel_user, public inbox_user, public std::enable_shared_from_this<link> {
public:
    /// So long, beyond the timeout, a worker may be silent that has something to do and says that it is not doing it.
    static constexpr std::chrono::seconds silence{1};

    /// Makes the pipes and asks the nursery for a process. Throws std::system_error: EMFILE, ENFILE (pipe2(2)).
    static std::shared_ptr<link> start(
        const asio::any_io_executor& ex, nursery_client& nursery, std::uint32_t slot, std::uint64_t generation,
        link_user& user, std::shared_ptr<std::recursive_mutex> guard);

    link(nursery_client& nursery, std::uint32_t slot, std::uint64_t generation, link_user& user,
        std::shared_ptr<std::recursive_mutex> guard);

    /// Told once, before anything else.
    void begin(clock::time_point now, const link_terms& terms) noexcept;

    /// Sends items to the worker. Precondition: alive(), and all that it holds are of the same call.
    void dispatch(std::shared_ptr<call> owner, item_run items, clock::time_point now);

    /// Takes back what it has not claimed. Afterwards it claims nothing of what it holds.
    void take_back();
    /// Kills the worker; what comes of its running item is decided when it has ended.
    void kill(kill_reason why, const char* detail = nullptr);
    /// No more work for this worker: it ends by itself. Precondition: idle().
    void retire();
    /// What it holds now is the last.
    void spend() noexcept;
    bool spent() const noexcept { return spent_; }

    /// Looks into the shared page: takes finished results that have not been written, and kills the worker when its
    /// running item is over its time. Returns when to look again, if a timeout is pending.
    std::optional<clock::time_point> look(clock::time_point now);
    /// Since when its present item runs; empty when none does.
    std::optional<clock::time_point> running_since() const noexcept { return page_.running_since(); }
    /// When the last item that it started was started; empty when it has started none.
    std::optional<clock::time_point> last_start() const noexcept { return page_.last_start(); }

    // Told by the nursery.
    void on_spawned(int pid) noexcept;
    void on_refused() noexcept { on_ended({}); }
    /// It has told where it is, if it could.
    void on_seen();
    void on_ended(std::optional<nursery_report> report) noexcept;
    /// It is not counted any more.
    void strike_off() noexcept;
    /// The owner is going: no callback reaches it any more, pending reads and writes are cancelled.
    void detach() noexcept;

    bool alive() const noexcept { return !ended_ && !retiring_ && reason_ == kill_reason::none; }
    bool gone() const noexcept { return gone_; }
    bool retiring() const noexcept { return retiring_; }
    /// It has come as far as to take items.
    bool began() const noexcept { return ready_ || page_.pid() != 0; }
    clock::time_point born() const noexcept { return born_; }
    bool idle() const noexcept { return held_.empty(); }
    /// Something is on its way to it: of what was taken back it has to read the rest.
    bool sends() const noexcept { return channel_ && channel_->writing(); }
    bool killed() const noexcept { return reason_ != kill_reason::none; }
    /// By the nursery's word; 0 while it has not come, and once it has ended.
    int living_pid() const noexcept { return ended_ ? 0 : pid_; }
    /// It ended by itself, and not because of an item.
    bool failed_to_begin() const noexcept;
    /// Somebody else ended it, or the kernel did for lack of memory.
    bool killed_before_it_began() const noexcept;
    /// The item that it is to start next has not been started yet.
    bool waiting_to_start() const noexcept { return !held_.empty() && started_unanswered() == 0; }
    std::uint32_t started_unanswered() const noexcept;
    std::size_t batches() const noexcept { return held_.batches(); }
    std::size_t held_items() const noexcept { return held_.count(); }
    /// Items that wait behind the one that runs.
    std::size_t waiting() const noexcept { return held_.empty() ? 0 : held_.count() - 1; }
    const call* owner() const noexcept { return held_.owner().get(); }
    std::uint32_t slot() const noexcept { return slot_; }
    std::uint64_t generation() const noexcept { return generation_; }
    /// Replies may come before the nursery's news of their worker.
    int pid() const noexcept { return pid_ != 0 ? pid_ : page_.pid(); }
    std::uint64_t answered() const noexcept { return inbox_.answered(); }
    /// What it does now.
    worker_state state(clock::time_point now) const;
    /// Text of the exception that kept it from making its state; empty when none did.
    const std::string& unfit() const noexcept { return unfit_; }
    /// It has said that it is ready, and then what holds it in.
    bool ready() const noexcept { return ready_; }
    protection enforced() const noexcept { return static_cast<protection>(note_.on); }

private:
    void on_read(std::error_code ec, std::size_t bytes) noexcept override;
    void on_written(std::error_code ec) noexcept override;

    void enrol() noexcept;
    void read_more();
    void write_more();
    void wrote_one();
    bool reject(const char* why) noexcept;
    next_replies next() const noexcept override;
    bool take_introduction(const reply_header& header, byte_view payload);
    bool take_replies(const reply_run& run) override;
    bool take_answers(const reply_run& run, std::uint32_t count);
    void take_values(const reply_run& run, const result_run& results, attempt_facts by);
    failure thrown(reply_kind kind, const report& said) const;
    bool take_usage(byte_view& payload, attempt_facts& by) const noexcept;
    attempt_facts lost(const failure& why) const noexcept;
    void tell_crash(const failure* why, call* owner) noexcept;
    void arrived(std::size_t bytes) noexcept;
    void distrust(const char* why) noexcept;
    void measure(call& owner) noexcept;
    void check_guess() noexcept;
    bool late_to_boot(clock::time_point now) noexcept;
    std::optional<clock::time_point> look_at_items(clock::time_point now);
    std::optional<clock::time_point> look_at_rest(clock::time_point now);
    std::optional<clock::time_point> look_at_slow_item(clock::time_point now);
    std::optional<clock::time_point> look_at_late_item(clock::time_point now, clock::duration timeout);
    bool makes_no_progress(clock::time_point now, clock::duration timeout);
    void harvest() noexcept;
    bool ended_unready() const noexcept;
    bool ended_from_outside() const noexcept;
    void end_when_quiet() noexcept;
    void drain() noexcept;
    void judge() noexcept;
    void tell_spawn() noexcept;
    void tell_starts(std::uint32_t until) noexcept;
    void tell_start(const item_run& one, std::uint32_t which, call& owner) noexcept;
    item_run pop_front() noexcept;
    void drop_front(std::uint32_t items) noexcept;
    void look_at_progress() noexcept;

    nursery_client* nursery_;
    link_user* user_;                             // null once the owner is gone
    std::shared_ptr<std::recursive_mutex> guard_; // the owner's, which it also holds when it goes
    std::shared_ptr<channel> channel_;
    int results_fd_ = -1; // borrowed from the channel
    owned_fd jobs_read_;  // our copy: a pipe that has a reader cannot raise SIGPIPE in us
    page_view page_;
    std::uint32_t slot_;
    std::uint64_t generation_;
    clock::time_point born_{};
    link_terms terms_{};
    standing counted_; // as what
    ready_note note_{};
    detail::held_items held_;
    bool spent_ = false;
    inbox inbox_{page_, *this};
    bool distrusted_ = false; // it broke the protocol: nothing more is believed
    bool large_results_ = false; // its pipe is large
    bool fills_pipe_ = false;    // a reply took half of a usual one
    std::vector<segment> message_; // that is being made: its memory is for the next one
    outbox outbox_{page_};
    std::chrono::nanoseconds busy_seen_{}; // page_.busy() when the running batch began
    std::uint32_t measured_from_ = 0;
    bool guess_ended_ = false; // and nobody has been told of it
    std::uint32_t started_seen_ = 0;  // page_.started() and
    std::uint32_t finished_seen_ = 0; // page_.finished(), when they were last looked at for a reply
    bool told_spawn_ = false;
    std::uint32_t told_ = 0;        // items whose start was told to those who listen
    std::uint32_t asked_where_ = 0; // started() when it was asked where it is; 0: not yet
    std::uint64_t progress_seen_ = 0;
    clock::time_point quiet_since_{}; // since when nothing of that has changed, as far as we looked
    bool suspected_ = false;
    std::pair<std::uint64_t, std::size_t> rest_seen_{~std::uint64_t{0}, 0}; // of what it need not start: writes, and bytes left
    clock::time_point unread_since_{}; // since when that is so
    int pid_ = 0;
    kill_reason reason_ = kill_reason::none;
    std::uint32_t target_sequence_ = 0; // timeout: the item that is to blame
    const char* detail_ = nullptr;
    bool retiring_ = false;
    bool ended_ = false;
    bool gone_ = false;
    std::optional<nursery_report> end_;
    bool ready_ = false; // its state is made
    std::string unfit_;
};

} // namespace cofork::detail
