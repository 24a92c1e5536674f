#include "connection.hpp"

#include <asio/buffer.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace image_server {

using asio::ip::tcp;

namespace {

constexpr auto lingering = std::chrono::seconds{2};

} // namespace

connection::connection(tcp::socket socket, const settings& chosen, const answerer& answer)
    : socket_{std::move(socket)}, patience_{socket_.get_executor()}, chosen_{chosen}, answer_{answer}
{
    std::error_code ignored; // the client may have gone
    socket_.set_option(tcp::no_delay{true}, ignored);
}

asio::awaitable<void> connection::converse()
{
    while (co_await answer_one()) {
    }
    co_await linger();
    patience_.cancel();
    std::error_code ignored;
    socket_.close(ignored);
}

/// Reads what a client sends that was refused in the middle: to close with bytes unread resets the connection, and the answer
/// may be lost with it (RFC 9112, 9.6).
asio::awaitable<void> connection::linger()
{
    std::error_code ec;
    socket_.shutdown(tcp::socket::shutdown_send, ec);
    wait_at_most(lingering);
    const auto room = asio::buffer(chunk_);
    while (!ec && !ending_)
        co_await socket_.async_read_some(room, asio::redirect_error(asio::use_awaitable, ec));
}

void connection::end_soon()
{
    ending_ = true;
    if (between_ && received_.empty())
        end_now();
}

void connection::end_now()
{
    ending_ = true;
    std::error_code ignored;
    socket_.close(ignored);
}

/// What is waited for after this is cancelled when it takes longer.
void connection::wait_at_most(std::chrono::nanoseconds time)
{
    patience_.expires_after(std::chrono::duration_cast<asio::steady_timer::duration>(time));
    patience_.async_wait([weak = weak_from_this()](std::error_code ec) {
        const auto self = weak.lock();
        // A handler that was on its way when the time was set anew is about the time before.
        if (ec || !self || self->patience_.expiry() > asio::steady_timer::clock_type::now())
            return;
        self->impatient_ = true;
        std::error_code ignored;
        self->socket_.cancel(ignored);
    });
}

/// False when the connection is over without an answer. Otherwise the request is complete or refused.
asio::awaitable<bool> connection::read(request_reader& reader)
{
    between_ = received_.empty();
    wait_at_most(between_ ? chosen_.idle : chosen_.slow);
    for (;;) {
        while (!received_.empty() && !reader.complete() && reader.refused() == 0)
            received_.erase(0, reader.take(received_));
        if (reader.complete() || reader.refused() != 0)
            co_return true;
        if (ending_ && between_)
            co_return false;
        std::error_code ec;
        const auto room = asio::buffer(chunk_);
        const std::size_t n = co_await socket_.async_read_some(room, asio::redirect_error(asio::use_awaitable, ec));
        if (ec && impatient_ && !between_) {
            const response late = plain(408, "the request took too long"); // named: g++ 12 destroys some temporaries twice
            co_await write(late, true, false);
        }
        if (ec)
            co_return false;
        received_.append(chunk_.data(), n);
        if (std::exchange(between_, false))
            wait_at_most(chosen_.slow); // for all of it: a byte now and then does not prolong it
    }
}

/// False when the connection ends with it.
asio::awaitable<bool> connection::answer_one()
{
    request_reader reader;
    if (!co_await read(reader))
        co_return false;
    patience_.cancel(); // what takes time now is ours
    response answer;
    bool keep_alive = false, with_body = true;
    if (reader.refused() != 0) {
        answer = plain(reader.refused(), "the request is refused: its syntax or its size");
    }
    else {
        try {
            const request asked = reader.result();
            with_body = asked.method != "HEAD";
            keep_alive = asked.keep_alive;
            answer = co_await answer_(asked);
        }
        catch (const std::invalid_argument& e) {
            answer = plain(400, e.what());
        }
        catch (const std::exception& e) {
            answer = plain(500, e.what());
        }
    }
    co_return co_await write(answer, with_body, keep_alive && !ending_);
}

asio::awaitable<bool> connection::write(const response& answer, bool with_body, bool keep_alive)
{
    const std::string head = head_of(answer, keep_alive);
    const bool body = with_body && answer.body && answer.status != 304;
    const std::array<asio::const_buffer, 2> both{asio::buffer(head), body ? asio::buffer(*answer.body) : asio::const_buffer{}};
    std::error_code ec;
    wait_at_most(chosen_.slow);
    co_await asio::async_write(socket_, both, asio::redirect_error(asio::use_awaitable, ec));
    co_return keep_alive && !ec;
}

} // namespace image_server
