#pragma once
// The parent's ends of one worker's two pipes, carried by the ring or by the reactor.

#include "owned_fd.hpp"
#include "ring.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <system_error>

namespace cofork::detail {

/// Who reads and writes. Always owned by a shared_ptr, which the pending operations hold.
class channel_user {
public:
    /// No error and no bytes: end of file. operation_aborted: cancelled.
    virtual void on_read(std::error_code ec, std::size_t bytes) noexcept = 0;
    /// Everything was written, or `ec`.
    virtual void on_written(std::error_code ec) noexcept = 0;

protected:
    ~channel_user() = default;
};

/// Used on one strand, on which the callbacks run, never from inside the initiating call. At most one read and one
/// write at a time.
///
/// A pipe that has no reader would raise SIGPIPE in this process: the owner keeps a read end of the job pipe open as
/// long as the channel is. Where the kernel has RWF_NOSIGNAL (Linux 6.18), the ring does without.
///
/// When the context ends, the users of pending operations are dropped uncalled. A channel may outlive it, and then does
/// nothing any more.
class channel final : public ring_guest, public std::enable_shared_from_this<channel> {
public:
    /// The pipe ends are blocking ones: with O_NONBLOCK io_uring gives EAGAIN instead of waiting.
    ///
    /// Who has a mutex by which other threads than the strand's come to the channel, to cancel, gives it along: what the
    /// channel does by itself, up to the callbacks, is then done under it.
    static std::shared_ptr<channel> make(
        const asio::any_io_executor& ex, owned_fd in, owned_fd out, std::shared_ptr<std::recursive_mutex> turn = {});
    channel(const asio::any_io_executor& ex, owned_fd in, owned_fd out, std::shared_ptr<std::recursive_mutex> turn);
    ~channel();

    /// Reads what comes first, at most `into`, which must stay while `user` does. Precondition: !into.empty().
    void read(std::span<std::byte> into, std::shared_ptr<channel_user> user);
    /// Writes everything; `from` must stay while `user` does.
    void write(std::span<const std::byte> from, std::shared_ptr<channel_user> user);
    /// Both, for one system call. Returns whether everything has been written by now: then on_written does not come.
    bool write_and_read(
        std::span<const std::byte> from, std::span<std::byte> into, const std::shared_ptr<channel_user>& user);
    bool reading() const noexcept { return in_.pending; }
    bool writing() const noexcept { return out_.pending; }
    /// Bytes of the pending write that the pipe has not taken.
    std::size_t unwritten() const noexcept { return out_.pending ? out_.rest.size() : 0; }

    /// What is pending completes, later, with operation_aborted or with what it got. After a cancelled write nobody
    /// knows how much of it went out.
    ///
    /// Where the kernel refuses the cancellation (a seccomp filter installed meanwhile) it keeps a claim on the bytes,
    /// and the user stays alive until they are released, at the latest when the context ends; what such a read still
    /// receives is lost.
    void cancel();
    /// The same for the read alone.
    void cancel_read() { cancel(in_); }

    /// What the pipe holds at this moment; 0: nothing. Never blocks. Precondition: !reading().
    std::size_t read_now(std::span<std::byte> into) noexcept;

    /// Closes both ends. Precondition: nothing is pending.
    void close() noexcept;

private:
    class request;

    static constexpr std::size_t most_at_once = 256 * 1024;

    /// One direction.
    struct side {
        owned_fd fd; // empty once `reactor` has it
        bool reads;
        std::optional<asio::posix::stream_descriptor> reactor; // since the ring was not to be had
        std::unique_ptr<ring_request> by_ring;
        std::span<std::byte> rest; // what the pending operation has still to do
        bool pending = false;
        bool cancelled = false;

        /// A loop has more to do than to fill one pipe.
        std::span<std::byte> next_part() const noexcept { return rest.first(std::min(rest.size(), most_at_once)); }
        int number() noexcept { return reactor ? reactor->native_handle() : fd.get(); }
    };

    void start(side& s, std::shared_ptr<channel_user> user, bool another_follows = false);
    void start_by_reactor(side& s, std::shared_ptr<channel_user> user);
    std::error_code go_to_reactor(side& s) noexcept;
    bool written_by_now();
    void ended_in_ring(side& s, std::shared_ptr<channel_user> user, int result);
    void moved(side& s, std::shared_ptr<channel_user> user, std::size_t bytes);
    void finish(side& s, std::shared_ptr<channel_user> user, std::error_code ec, std::size_t bytes) noexcept;
    void finish_later(side& s, std::shared_ptr<channel_user> user, std::error_code ec);
    void cancel(side& s);
    void abandon(side& s);
    std::unique_lock<std::recursive_mutex> take_turn() const;
    void close_copies() noexcept;
    std::shared_ptr<void> forsake() noexcept override;

    made_here made_here_;
    asio::any_io_executor ex_; // none once the context is gone
    std::shared_ptr<ring> ring_;
    std::shared_ptr<std::recursive_mutex> turn_; // may be null
    side in_;
    side out_;
};

} // namespace cofork::detail
