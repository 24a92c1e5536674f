#include "channel.hpp"

#include <asio/buffer.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/post.hpp>

#include <algorithm>
#include <cassert>
#include <cerrno>

#include <sys/ioctl.h>
#include <unistd.h>

namespace cofork::detail {

std::shared_ptr<channel> channel::make(const asio::any_io_executor& ex, owned_fd in, owned_fd out)
{
    return std::make_shared<channel>(ex, std::move(in), std::move(out));
}

channel::channel(const asio::any_io_executor& ex, owned_fd in, owned_fd out)
    : ex_{ex}, ring_{ring_service::of(ex)}, in_{*this, ex, std::move(in), false}, out_{*this, ex, std::move(out), true}
{
    ring_.usable(ex);
}

channel::~channel() = default;

void channel::read(std::span<std::byte> into, std::shared_ptr<channel_user> user)
{
    assert(!reading() && !into.empty());
    in_.user = std::move(user);
    in_.at = into.data();
    in_.left = into.size();
    in_.go();
}

void channel::write(std::span<const std::byte> from, std::shared_ptr<channel_user> user)
{
    assert(!writing() && !from.empty());
    out_.user = std::move(user);
    out_.at = const_cast<std::byte*>(from.data()); // only read
    out_.left = from.size();
    out_.go();
}

void channel::cancel()
{
    in_.cancel();
    out_.cancel();
}

std::size_t channel::read_now(std::span<std::byte> into) noexcept
{
    assert(!reading());
    int there = 0;
    if (!in_.fd || ::ioctl(in_.fd.get(), FIONREAD, &there) < 0 || there <= 0)
        return 0;
    const ssize_t got = ::read(in_.fd.get(), into.data(), std::min(into.size(), static_cast<std::size_t>(there)));
    return got > 0 ? static_cast<std::size_t>(got) : 0;
}

void channel::close() noexcept
{
    assert(!reading() && !writing());
    ring_.flush();
    in_.close();
    out_.close();
}

void channel::side::go()
{
    aborting_ = false;
    in_ring_ = owner_.shared_from_this();
    const bool by_ring = !reactor_
        && (writes_ ? owner_.ring_.write(*this, fd.get(), at, left) : owner_.ring_.read(*this, fd.get(), at, left));
    if (by_ring)
        return;
    in_ring_.reset();
    go_by_reactor();
}

/// Any thread that runs the context.
void channel::side::complete(int res) noexcept
{
    asio::dispatch(ex_, [this, keep = std::move(in_ring_), res]() mutable {
        held_for_kernel.reset();
        if (!user)
            return; // it was given up: the kernel could not be asked to cancel, and only now lets go
        if (res == -ECANCELED)
            done(asio::error::operation_aborted, 0);
        else if (res < 0)
            done({-res, std::system_category()}, 0);
        else if (writes_ && static_cast<std::size_t>(res) < left && !aborting_) {
            at += res;
            left -= static_cast<std::size_t>(res);
            go();
        }
        else if (writes_ && static_cast<std::size_t>(res) < left)
            done(asio::error::operation_aborted, 0);
        else
            done({}, static_cast<std::size_t>(res));
    });
}

void channel::side::refused() noexcept
{
    asio::post(ex_, [this, keep = std::move(in_ring_)] {
        if (user)
            go_by_reactor();
    });
}

void channel::side::drop() noexcept
{
    const auto keep = std::move(in_ring_);
    const auto last = std::move(user);
    const auto held = std::move(held_for_kernel);
}

void channel::side::go_by_reactor()
{
    asio::error_code ec;
    if (!reactor_) {
        // A copy, so that both can be closed in any order.
        owned_fd copy{::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3)};
        reactor_.emplace(ex_);
        if (!copy)
            ec = {errno, std::system_category()};
        else
            reactor_->assign(copy.get(), ec);
        if (!ec)
            (void)copy.release();
        else
            reactor_.reset();
    }
    if (ec || aborting_) {
        if (!ec)
            ec = asio::error::operation_aborted;
        asio::post(ex_, [this, keep = owner_.shared_from_this(), ec] { done(ec, 0); });
        return;
    }
    auto then = [this, keep = owner_.shared_from_this(), hold = user](asio::error_code error, std::size_t bytes) {
        if (!error && writes_ && bytes < left) {
            at += bytes;
            left -= bytes;
            return go_by_reactor();
        }
        done(error == asio::error::eof ? asio::error_code{} : error, bytes);
    };
    if (writes_)
        reactor_->async_write_some(asio::buffer(at, left), std::move(then));
    else
        reactor_->async_read_some(asio::buffer(at, left), std::move(then));
}

void channel::side::cancel()
{
    if (!user)
        return;
    aborting_ = true;
    if (reactor_) {
        asio::error_code ignored;
        reactor_->cancel(ignored);
        return;
    }
    if (owner_.ring_.cancel(*this))
        return;
    // The kernel cannot be asked any more: it lets go when it likes, and until then nothing may be freed. The user
    // does not wait for that.
    asio::post(ex_, [this, keep = owner_.shared_from_this()] {
        if (user) {
            held_for_kernel = user;
            done(asio::error::operation_aborted, 0);
        }
    });
}

void channel::side::done(std::error_code ec, std::size_t bytes) noexcept
{
    const auto to = std::move(user);
    if (!to)
        return;
    if (writes_)
        to->on_written(ec);
    else
        to->on_read(ec, bytes);
}

void channel::side::close() noexcept
{
    reactor_.reset();
    fd.reset();
}

} // namespace cofork::detail
