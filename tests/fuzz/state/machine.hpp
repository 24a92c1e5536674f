#pragma once
// What stands in for the kernel, the nursery and the clock: everything happens when the fuzzer says so, and in its order.

#include "nursery_client.hpp"
#include "ring.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/executor_work_guard.hpp>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace fuzz {

using namespace cofork::detail;

class fake_worker;
class fake_call;

/// The world outside of the parent's own code, for one run.
class machine {
public:
    machine();
    ~machine();
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;

    /// The one that there is.
    static machine& here();

    // Time. steady_clock reads it while a machine exists (fake_system.cpp).

    static std::chrono::steady_clock::time_point now();
    static void advance(std::chrono::nanoseconds by);

    // What is refused from now on.

    bool no_pipes = false;   ///< EMFILE
    bool no_forks = false;   ///< EAGAIN, for a nursery
    bool no_ring = false;    ///< the reactor has to do
    bool no_cancel = false;  ///< of what the ring holds
    bool at_once = false;    ///< a write that need not wait is over before the call that asks for it returns
    bool threads = false;    ///< of the program: no nursery can be forked

    // Reads and writes that the parent has asked for (fake_ring.cpp).

    void take(ring_request& request, const asio::any_io_executor& lender);
    void drop(ring_request& request);
    std::size_t transfers() const noexcept { return transfers_.size(); }
    /// Moves at most so many bytes, or ends it when that was asked for. Returns whether anything came of it.
    bool complete(std::size_t at, std::size_t most);
    /// The same for one that the caller ends. Returns its result; empty when it would wait.
    std::optional<int> move(ring_request& request, std::size_t most);
    /// Ends it with an error of the kernel's own.
    void fail(std::size_t at, int error);
    void cancel(ring_request& request);

    // The nursery (fake_nursery.cpp).

    void nursery_begins(const nursery_client* client, std::shared_ptr<shared_pages> pages);
    /// Its workers end with it.
    void nursery_ends(const nursery_client* client);
    void ask(const nursery_client* client, const nursery_request& what, owned_fd jobs, owned_fd results);
    void listen(const asio::any_io_executor& ex, std::function<void()> heard);
    /// The parent waits no longer, or there is news.
    void wake();
    std::optional<nursery_report> next_report();
    bool nursery_lost() const noexcept { return lost_; }
    void end_later(const asio::any_io_executor& ex, std::function<void()> done);

    // What the fuzzer may make happen there. Each returns whether there was anything to do.

    bool serve_request(bool refuse);
    bool deliver_reports();
    bool finish_ending();
    void lose_nursery();
    bool reap();

    std::vector<std::shared_ptr<fake_worker>> workers; ///< that live, or whose end is to be told
    std::vector<fake_call*> calls;                     ///< by their number
    bool liars = false;                                ///< a worker has done what an honest one does not

    /// The context ends: nothing may refer to it any more.
    void let_go() noexcept;
    /// What the parent has asked for and not taken back.
    bool idle() const noexcept { return transfers_.empty() && !listener_ && !ending_; }

private:
    struct errand {
        nursery_request what;
        owned_fd jobs, results;
    };
    using guard = asio::executor_work_guard<asio::any_io_executor>;

    struct waiting {
        asio::any_io_executor ex;
        guard work;
        std::function<void()> then;
    };
    struct transfer {
        ring_request* request;
        bool cancelled;
    };
    static void post(std::optional<waiting>& what);

    void finish(std::size_t at, int result);
    void spawn(errand asked);
    void report_end(const fake_worker& worker);

    std::vector<transfer> transfers_;
    std::optional<guard> ring_work_; // while there are transfers
    const nursery_client* nursery_ = nullptr;
    std::shared_ptr<shared_pages> pages_;
    std::deque<errand> asked_;
    std::deque<nursery_report> reports_;
    std::optional<waiting> listener_;
    std::optional<waiting> ending_;
    bool lost_ = false;
    int last_pid_ = 1000;
};

} // namespace fuzz
