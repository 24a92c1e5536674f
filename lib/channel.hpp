#pragma once
// The parent's ends of one worker's two pipes, carried by the ring or by the reactor.

#include "owned_fd.hpp"
#include "ring.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>

#include <cstddef>
#include <memory>
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

/// Used on one strand, on which the callbacks run, never from inside the initiating call. At most one read and one write
/// at a time.
///
/// A pipe that has no reader would raise SIGPIPE in this process: the owner keeps a read end of the job pipe open as
/// long as the channel is.
class channel : public std::enable_shared_from_this<channel> {
public:
    static std::shared_ptr<channel> make(const asio::any_io_executor& ex, owned_fd in, owned_fd out);
    channel(const asio::any_io_executor& ex, owned_fd in, owned_fd out);
    ~channel();

    /// Reads what comes first, at most `into`, which must stay while `user` does.
    void read(std::span<std::byte> into, std::shared_ptr<channel_user> user);
    /// Writes everything.
    void write(std::span<const std::byte> from, std::shared_ptr<channel_user> user);
    bool reading() const noexcept { return in_.user != nullptr; }
    bool writing() const noexcept { return out_.user != nullptr; }

    /// What is pending completes, later, with operation_aborted or with what it got.
    void cancel();

    /// What the pipe holds at this moment; 0: nothing. Never blocks. Precondition: !reading().
    std::size_t read_now(std::span<std::byte> into) noexcept;

    /// Closes both ends. Precondition: nothing is pending.
    void close() noexcept;

private:
    /// One direction: its descriptor and what is pending on it.
    class side final : public ring_op {
    public:
        side(channel& owner, const asio::any_io_executor& ex, owned_fd end, bool writes)
            : owner_{owner}, ex_{ex}, fd{std::move(end)}, writes_{writes}
        {
        }

        void go();
        void cancel();
        void close() noexcept;

        void complete(int res) noexcept override;
        void refused() noexcept override;
        void drop() noexcept override;

    private:
        channel& owner_;
        asio::any_io_executor ex_;

    public:
        owned_fd fd;
        std::shared_ptr<channel_user> user; // while something is pending
        std::shared_ptr<channel_user> held_for_kernel; // owns the buffer of a request that could not be cancelled
        std::byte* at = nullptr;
        std::size_t left = 0;

    private:
        void go_by_reactor();
        void done(std::error_code ec, std::size_t bytes) noexcept;

        bool writes_;
        bool aborting_ = false;
        std::shared_ptr<channel> in_ring_; // while the kernel may touch this object
        std::optional<asio::posix::stream_descriptor> reactor_; // once the ring was not to be had; owns a copy of fd
    };

    asio::any_io_executor ex_;
    ring_service& ring_;
    side in_;
    side out_;
};

} // namespace cofork::detail
