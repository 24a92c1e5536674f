#pragma once
// The parent's side of a nursery: asks for workers, hears how they end.

#include "arena.hpp"
#include "nursery_protocol.hpp"
#include "owned_fd.hpp"
#include "page.hpp"
#include "process.hpp"
#include "worker_life.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace cofork::detail {

/// Anonymous memory shared with children; unmapped at the end.
class shared_pages {
public:
    /// Also arenas, as far as the process may have so many addresses. Throws std::system_error: ENOMEM (mmap(2)).
    explicit shared_pages(std::uint32_t count);
    ~shared_pages();
    shared_pages(const shared_pages&) = delete;
    shared_pages& operator=(const shared_pages&) = delete;

    page* get() const noexcept { return pages_; }
    std::uint32_t count() const noexcept { return count_; }

    /// One for each slot, without access; null: there are none.
    arena* arenas() const noexcept { return arenas_; }
    /// That of one slot, to be used. Null: it has none, or the kernel has no memory for its tables.
    arena* open_arena(std::uint32_t slot) noexcept;
    /// A worker is to have it, and sees nothing of what the one before has left there, whether or not we have looked.
    void clear_arena(std::uint32_t slot) noexcept;
    /// No worker has anything to do: the memory of all but some is given back.
    void trim_arenas() noexcept;

private:
    void map_arenas() noexcept;
    void give_back(std::uint32_t slot) noexcept;

    page* pages_;
    std::uint32_t count_;
    arena* arenas_ = nullptr;
    std::vector<bool> open_; // arenas that were opened, and
    std::vector<bool> used_; // that have memory, as far as we know
    std::vector<bool> had_;  // slots that have had a worker
};

class nursery_user {
public:
    virtual void on_report(const nursery_report& report) noexcept = 0;
    /// There are no more reports for now.
    virtual void on_reports_read() noexcept = 0;
    /// The nursery ended unasked; its workers end with it.
    virtual void on_nursery_lost() noexcept = 0;

protected:
    ~nursery_user() = default;
};

/// Owns one nursery process. Used on one strand, on which the user is called.
class nursery_client : public std::enable_shared_from_this<nursery_client> {
public:
    /// Forks the nursery. Throws std::system_error: EAGAIN, ENOMEM (fork(2)), EMFILE, ENFILE.
    nursery_client(const asio::any_io_executor& ex, std::uint32_t slots, const worker_life& life, std::uint32_t kept,
        std::shared_ptr<std::recursive_mutex> guard);

    /// Kills and reaps the nursery and all its workers; blocks until that is done, a few milliseconds as a rule,
    /// bounded by `patience` in nursery_client.cpp.
    ~nursery_client();

    /// The pages, one per slot. Whoever looks into one keeps them alive.
    const std::shared_ptr<shared_pages>& pages() const noexcept { return pages_; }
    pid_t pid() const noexcept { return pid_; }

    void spawn(std::uint32_t slot, std::uint64_t generation, owned_fd jobs, owned_fd results);
    void kill(std::uint32_t slot, std::uint64_t generation);
    /// The same, after the worker has had a moment to tell where it is.
    void question(std::uint32_t slot, std::uint64_t generation);
    /// Asks the worker where it is: nursery_news::seen tells when the answer is in its page.
    void look(std::uint32_t slot, std::uint64_t generation);

    /// Starts hearing reports, or stops: no worker has anything to do. While started, the executor's context has work.
    void watch(std::shared_ptr<nursery_user> user);
    void unwatch() noexcept;

    /// Ends the nursery and all workers; `done` runs on the strand once they are reaped.
    void async_end(std::function<void()> done);
    /// The same, blocking.
    void end() noexcept;

private:
    struct request {
        nursery_request what;
        owned_fd jobs, results;
    };

    void fork_nursery(owned_fd control, const worker_life& life, std::uint32_t kept);
    void wait_for_report();
    void read_reports();
    void post(request r);
    void flush();
    enum class sending { done, full, refused };
    sending send(const request& r) noexcept;
    void reap() noexcept;

    made_here made_here_;
    std::shared_ptr<shared_pages> pages_;
    std::shared_ptr<std::recursive_mutex> guard_; // the owner's
    asio::posix::stream_descriptor control_;
    asio::posix::stream_descriptor pidfd_;
    asio::steady_timer patience_; // with its end
    asio::steady_timer again_;    // when the kernel had no memory for a request
    pid_t pid_ = 0;
    std::shared_ptr<nursery_user> user_;
    bool waiting_ = false;
    bool flushing_ = false;
    std::deque<request> unsent_; // while the socket is full
};

} // namespace cofork::detail
