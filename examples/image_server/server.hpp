#pragma once
// Connections come in, and end together.

#include "connection.hpp"
#include "options.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

#include <cstdint>
#include <memory>
#include <set>

namespace image_server {

/// Used by one thread.
class server {
public:
    /// Listens. Throws std::system_error. `chosen` must outlive it.
    server(asio::any_io_executor ex, const settings& chosen, connection::answerer answer);

    std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
    std::size_t connections() const noexcept { return open_.size(); }

    /// Accepts until end_soon().
    asio::awaitable<void> accept_all();
    /// No more connections; those that wait for a request are closed, the others after their answer.
    void end_soon();
    void end_now();
    /// Until there are no connections left.
    asio::awaitable<void> ended();

private:
    void take(asio::ip::tcp::socket socket);
    void turn_away(asio::ip::tcp::socket socket);

    const settings& chosen_;
    connection::answerer answer_;
    asio::ip::tcp::acceptor acceptor_;
    asio::steady_timer empty_; // never fires: who waits for it is woken
    std::set<std::shared_ptr<connection>> open_;
};

} // namespace image_server
