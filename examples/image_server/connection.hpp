#pragma once
// One client: its requests one after the other, each answered within its time or the connection closed.

#include "http.hpp"
#include "options.hpp"

#include <asio/awaitable.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/steady_timer.hpp>

#include <array>
#include <functional>
#include <memory>
#include <string>

namespace image_server {

class connection : public std::enable_shared_from_this<connection> {
public:
    using answerer = std::function<asio::awaitable<response>(const request&)>;

    /// `chosen` and `answer` must outlive it.
    connection(asio::ip::tcp::socket socket, const settings& chosen, const answerer& answer);

    /// Runs until the connection is over. Whoever spawns it holds a pointer to this meanwhile.
    asio::awaitable<void> converse();
    /// Answers what it has begun to read, and then ends.
    void end_soon();
    /// Ends, whatever it does.
    void end_now();

private:
    asio::awaitable<bool> read(request_reader& reader);
    asio::awaitable<bool> answer_one();
    asio::awaitable<bool> write(const response& answer, bool with_body, bool keep_alive);
    asio::awaitable<void> linger();
    void wait_at_most(std::chrono::nanoseconds time);

    asio::ip::tcp::socket socket_;
    asio::steady_timer patience_;
    const settings& chosen_;
    const answerer& answer_;
    std::string received_; // and not read yet
    std::array<char, 4096> chunk_;
    bool ending_ = false;
    bool between_ = true;    // nothing of a request has come
    bool impatient_ = false; // it took too long
};

} // namespace image_server
