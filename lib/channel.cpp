#include "channel.hpp"

#include "copied_descriptor.hpp"

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/execution/context.hpp>
#include <asio/post.hpp>
#include <asio/query.hpp>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace cofork::detail {

/// One side's operation in the ring. Its owner is the channel, its keeper the user.
class channel::request final : public ring_request {
public:
    request(channel& mine, side& s) : channel_{mine}, side_{s} { reads = s.reads; }

    void done(int result) noexcept override
    {
        const asio::any_io_executor ex = channel_.ex_;
        // Everything that keeps us alive moves into the handler: when the context destroys it uncalled, all of it goes.
        auto then = [&c = channel_, &s = side_, keep = std::move(owner), user = take_user(), result]() mutable {
            const auto turn = c.take_turn();
            c.ended_in_ring(s, std::move(user), result);
        };
        if (result == not_taken)
            asio::post(ex, std::move(then));
        else
            ex.execute(std::move(then));
    }

    void cancel_refused() noexcept override
    {
        asio::post(channel_.ex_, [&c = channel_, &s = side_, keep = owner] {
            const auto turn = c.take_turn();
            c.abandon(s);
        });
    }

    std::shared_ptr<channel_user> take_user() noexcept
    {
        return std::static_pointer_cast<channel_user>(std::exchange(keeper, nullptr));
    }

private:
    channel& channel_;
    side& side_;
};

std::shared_ptr<channel> channel::make(
    const asio::any_io_executor& ex, owned_fd in, owned_fd out, std::shared_ptr<std::recursive_mutex> turn)
{
    return std::make_shared<channel>(ex, std::move(in), std::move(out), std::move(turn));
}

channel::channel(
    const asio::any_io_executor& ex, owned_fd in, owned_fd out, std::shared_ptr<std::recursive_mutex> turn)
    : ex_{ex}, ring_{ring_of(asio::query(ex, asio::execution::context))}, turn_{std::move(turn)},
      in_{.fd = std::move(in), .reads = true, .reactor = {}, .by_ring = {}, .rest = {}},
      out_{.fd = std::move(out), .reads = false, .reactor = {}, .by_ring = {}, .rest = {}}
{
    in_.by_ring = std::make_unique<request>(*this, in_);
    out_.by_ring = std::make_unique<request>(*this, out_);
    ring_->join(*this);
}

channel::~channel()
{
    close_copies();
    ring_->leave(*this);
}

std::unique_lock<std::recursive_mutex> channel::take_turn() const
{
    return turn_ ? std::unique_lock{*turn_} : std::unique_lock<std::recursive_mutex>{};
}

void channel::close_copies() noexcept
{
    for (side* const s : {&in_, &out_}) {
        if (s->reactor && !made_here_)
            close_copy(*s->reactor);
    }
}

void channel::read(std::span<std::byte> into, std::shared_ptr<channel_user> user)
{
    assert(!reading() && !into.empty());
    in_.rest = into;
    start(in_, std::move(user));
}

void channel::write(std::span<const std::byte> from, std::shared_ptr<channel_user> user)
{
    assert(!writing());
    out_.rest = {const_cast<std::byte*>(from.data()), from.size()}; // only read from
    start(out_, std::move(user));
}

bool channel::write_and_read(
    std::span<const std::byte> from, std::span<std::byte> into, const std::shared_ptr<channel_user>& user)
{
    assert(!writing() && !reading() && !into.empty());
    out_.rest = {const_cast<std::byte*>(from.data()), from.size()};
    in_.rest = into;
    start(out_, user, !in_.reactor);
    start(in_, user);
    return written_by_now();
}

/// A pipe with room takes a write while it is being submitted.
bool channel::written_by_now()
{
    auto& r = static_cast<request&>(*out_.by_ring);
    const auto result = out_.pending && !out_.reactor ? ring_->take_result(r) : std::nullopt;
    if (!result)
        return false;
    r.owner.reset(); // not its last one: our caller holds us
    auto user = r.take_user();
    if (*result >= 0 && static_cast<std::size_t>(*result) == out_.rest.size()) {
        out_.pending = out_.cancelled = false;
        return true;
    }
    asio::post(ex_, [this, keep = shared_from_this(), user = std::move(user), result = *result]() mutable {
        const auto turn = take_turn();
        ended_in_ring(out_, std::move(user), result);
    });
    return false;
}

void channel::start(side& s, std::shared_ptr<channel_user> user, bool another_follows)
{
    if (!ex_)
        return;
    s.pending = true;
    if (s.rest.empty())
        return finish_later(s, std::move(user), {});
    if (s.reactor)
        return start_by_reactor(s, std::move(user));
    auto& r = static_cast<request&>(*s.by_ring);
    r.fd = s.fd.get();
    r.bytes = s.next_part();
    r.owner = shared_from_this();
    r.keeper = std::move(user);
    if (!ring_->start(r, ex_, another_follows)) {
        r.owner.reset();
        start_by_reactor(s, r.take_user());
    }
}

void channel::ended_in_ring(side& s, std::shared_ptr<channel_user> user, int result)
{
    if (result >= 0)
        return moved(s, std::move(user), static_cast<std::size_t>(result));
    // With EAGAIN the kernel will not wait for this descriptor: asking it again could go on for ever.
    const bool elsewhere = result == -EAGAIN || result == ring_request::not_taken;
    // The kernel ends the requests of a thread that exits with ECANCELED, whether or not anybody asked for that.
    const bool again = result == -ECANCELED || result == -EINTR;
    if (!elsewhere && !again)
        finish(s, std::move(user), {-result, asio::error::get_system_category()}, 0);
    else if (s.cancelled)
        finish(s, std::move(user), asio::error::operation_aborted, 0);
    else if (elsewhere)
        start_by_reactor(s, std::move(user));
    else
        start(s, std::move(user));
}

/// Some bytes went through, by whichever way.
void channel::moved(side& s, std::shared_ptr<channel_user> user, std::size_t bytes)
{
    if (s.reads)
        return finish(s, std::move(user), {}, bytes);
    s.rest = s.rest.subspan(bytes);
    if (s.rest.empty())
        finish(s, std::move(user), {}, 0);
    else if (s.cancelled)
        finish(s, std::move(user), asio::error::operation_aborted, 0);
    else
        start(s, std::move(user));
}

void channel::start_by_reactor(side& s, std::shared_ptr<channel_user> user)
{
    if (const std::error_code ec = go_to_reactor(s))
        return finish_later(s, std::move(user), ec);
    auto then = [this, &s, keep = shared_from_this(), user](std::error_code ec, std::size_t bytes) mutable {
        const auto turn = take_turn();
        if (!ec || (s.reads && ec == asio::error::eof))
            moved(s, std::move(user), bytes);
        else
            finish(s, std::move(user), ec, 0);
    };
    const auto part = s.next_part();
    if (s.reads)
        s.reactor->async_read_some(asio::buffer(part.data(), part.size()), std::move(then));
    else
        s.reactor->async_write_some(asio::buffer(part.data(), part.size()), std::move(then));
}

/// Gives the descriptor to the reactor, once, which makes it non-blocking.
std::error_code channel::go_to_reactor(side& s) noexcept
try {
    if (!s.reactor) {
        s.reactor.emplace(ex_);
        s.reactor->assign(s.fd.get());
        (void)s.fd.release();
    }
    return {};
}
catch (const std::system_error& e) { // epoll's own limits; Asio made for io_uring where that is forbidden
    s.reactor.reset();
    return e.code();
}

void channel::finish(side& s, std::shared_ptr<channel_user> user, std::error_code ec, std::size_t bytes) noexcept
{
    s.pending = s.cancelled = false;
    if (s.reads)
        user->on_read(ec, bytes);
    else
        user->on_written(ec);
}

void channel::finish_later(side& s, std::shared_ptr<channel_user> user, std::error_code ec)
{
    asio::post(ex_, [this, &s, keep = shared_from_this(), user = std::move(user), ec]() mutable {
        const auto turn = take_turn();
        finish(s, std::move(user), ec, 0);
    });
}

void channel::cancel()
{
    cancel(in_);
    cancel(out_);
}

void channel::cancel(side& s)
{
    if (!s.pending || !ex_ || !made_here_)
        return;
    s.cancelled = true;
    if (s.reactor) {
        std::error_code ignored;
        s.reactor->cancel(ignored);
    } else {
        ring_->cancel(*s.by_ring);
    }
}

void channel::abandon(side& s)
{
    auto user = std::static_pointer_cast<channel_user>(ring_->abandon(s.by_ring));
    if (!user)
        return;
    s.by_ring = std::make_unique<request>(*this, s);
    // The kernel may still take bytes away between a look at the pipe and a read from it, which must not block then.
    if (const int flags = ::fcntl(s.number(), F_GETFL); flags >= 0)
        ::fcntl(s.number(), F_SETFL, flags | O_NONBLOCK);
    finish(s, std::move(user), asio::error::operation_aborted, 0);
}

std::size_t channel::read_now(std::span<std::byte> into) noexcept
{
    assert(!reading());
    int there = 0;
    if (::ioctl(in_.number(), FIONREAD, &there) < 0 || there <= 0)
        return 0;
    ssize_t got = 0;
    do
        got = ::read(in_.number(), into.data(), std::min(into.size(), static_cast<std::size_t>(there)));
    while (got < 0 && errno == EINTR);
    return got > 0 ? static_cast<std::size_t>(got) : 0;
}

/// No request can be queued for a descriptor that is closed here: while one is queued, it is pending.
void channel::close() noexcept
{
    assert(!reading() && !writing());
    for (side* const s : {&in_, &out_}) {
        s->reactor.reset();
        s->fd.reset();
    }
}

std::shared_ptr<void> channel::forsake() noexcept
{
    struct belongings {
        std::optional<asio::posix::stream_descriptor> in, out;
        asio::any_io_executor ex; // of a strand, it must not outlive the context either
    };
    close_copies();
    auto all = std::make_shared<belongings>();
    all->in = std::exchange(in_.reactor, std::nullopt);
    all->out = std::exchange(out_.reactor, std::nullopt);
    all->ex = std::exchange(ex_, {});
    in_.pending = out_.pending = false;
    return all;
}

} // namespace cofork::detail
