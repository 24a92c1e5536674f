#include "server.hpp"

#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>
#include <asio/ip/address.hpp>
#include <asio/redirect_error.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <utility>

namespace image_server {

using asio::ip::tcp;

server::server(asio::any_io_executor ex, const settings& chosen, connection::answerer answer)
    : chosen_{chosen}, answer_{std::move(answer)},
      acceptor_{ex, tcp::endpoint{asio::ip::make_address(chosen.address), chosen.port}},
      empty_{ex, asio::steady_timer::time_point::max()}
{
}

asio::awaitable<void> server::accept_all()
{
    asio::steady_timer breath{acceptor_.get_executor()};
    while (acceptor_.is_open()) {
        std::error_code ec;
        tcp::socket socket = co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, ec));
        if (!ec && open_.size() < chosen_.connections) {
            take(std::move(socket));
        }
        else if (!ec) {
            turn_away(std::move(socket));
        }
        else if (acceptor_.is_open()) {
            // No descriptor is left: until a connection ends, to ask again at once would only make the loop busy.
            breath.expires_after(std::chrono::milliseconds{10});
            co_await breath.async_wait(asio::redirect_error(asio::use_awaitable, ec));
        }
    }
}

void server::take(tcp::socket socket)
{
    const auto client = std::make_shared<connection>(std::move(socket), chosen_, answer_);
    open_.insert(client);
    asio::co_spawn(acceptor_.get_executor(), client->converse(), [this, client](std::exception_ptr) {
        open_.erase(client); // whatever it threw: it was about this client alone
        if (open_.empty())
            empty_.cancel();
    });
}

/// Without waiting for the client: it may have come to hold as many connections as it can.
void server::turn_away(tcp::socket socket)
{
    response full = plain(503, "too many connections");
    full.fields = "Retry-After: 1\r\n";
    const std::string text = head_of(full, false) + *full.body;
    std::error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(text), ignored);
}

void server::end_soon()
{
    // Those that the kernel has accepted for us believe that they are served.
    std::error_code ec;
    acceptor_.cancel(ec);
    acceptor_.non_blocking(true, ec);
    for (;;) {
        tcp::socket socket{acceptor_.get_executor()};
        acceptor_.accept(socket, ec);
        if (ec || open_.size() >= chosen_.connections)
            break;
        take(std::move(socket));
    }
    acceptor_.close(ec);
    for (const auto& each : open_)
        each->end_soon();
}

void server::end_now()
{
    for (const auto& each : open_)
        each->end_now();
}

asio::awaitable<void> server::ended()
{
    std::error_code woken;
    while (!open_.empty())
        co_await empty_.async_wait(asio::redirect_error(asio::use_awaitable, woken));
}

} // namespace image_server
