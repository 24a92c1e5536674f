#include "server.hpp"

#include <asio/awaitable.hpp>
#include <asio/buffer.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/ip/address_v4.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <fstream>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace crawler {

namespace {

using asio::ip::tcp;

constexpr std::size_t max_request = 16 * 1024;

struct request {
    std::string method;
    std::string target;
    bool keep_alive = false;
};

// `head` is the request up to and with its empty line.
std::optional<request> parse(std::string head)
{
    const std::string line = head.substr(0, head.find("\r\n"));
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == line.npos || first == last || !line.substr(last + 1).starts_with("HTTP/1."))
        return std::nullopt;
    std::ranges::transform(head, head.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto has = [&](std::string_view field) { return head.find(field) != head.npos; };
    // A body is not read, so what follows it could not be told from it.
    const bool body = has("\r\ncontent-length:") || has("\r\ntransfer-encoding:");
    return request{.method = line.substr(0, first),
                   .target = line.substr(first + 1, last - first - 1),
                   .keep_alive = line.ends_with("1.1") && !has("\r\nconnection: close") && !body};
}

reply refusal(int status)
{
    return {.status = status, .content_type = "text/plain"};
}

std::string head_of(const reply& answer, bool keep_alive)
{
    const char* const phrase = answer.status == 200   ? " OK"
                               : answer.status == 301 ? " Moved Permanently"
                               : answer.status == 404 ? " Not Found"
                                                      : " Error";
    std::string head = "HTTP/1.1 " + std::to_string(answer.status) + phrase;
    head += "\r\nContent-Type: " + answer.content_type + "\r\nContent-Length: " + std::to_string(answer.size);
    if (!answer.location.empty())
        head += "\r\nLocation: " + answer.location;
    head += keep_alive ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n";
    return head;
}

asio::awaitable<void> write(tcp::socket& socket, const std::string& text)
{
    const auto bytes = asio::buffer(text);
    co_await asio::async_write(socket, bytes, asio::use_awaitable);
}

asio::awaitable<void> write_file(tcp::socket& socket, const reply& answer)
{
    std::ifstream file{answer.file, std::ios::binary};
    std::string chunk(64 * 1024, '\0');
    for (std::uint64_t left = answer.size; left > 0; left -= chunk.size()) {
        chunk.resize(static_cast<std::size_t>(std::min<std::uint64_t>(left, chunk.size())));
        // Shorter than promised: only closing the connection tells.
        if (!file.read(chunk.data(), static_cast<std::streamsize>(chunk.size())))
            throw std::system_error{std::make_error_code(std::errc::io_error), answer.file.string()};
        co_await write(socket, chunk);
    }
}

// Answers one request; false when the connection ends with it.
asio::awaitable<bool> answer_one(tcp::socket& socket, std::string& received, const site& files)
{
    constexpr std::string_view end = "\r\n\r\n";
    auto buffer = asio::dynamic_buffer(received, max_request);
    const std::size_t size = co_await asio::async_read_until(socket, buffer, end, asio::use_awaitable);
    const std::optional<request> asked = parse(received.substr(0, size));
    received.erase(0, size);

    const bool known = asked && (asked->method == "GET" || asked->method == "HEAD");
    const reply answer = !asked ? refusal(400) : !known ? refusal(405) : files.get(asked->target);
    const bool keep_alive = known && asked->keep_alive;
    std::string text = head_of(answer, keep_alive);
    const bool with_body = !asked || asked->method != "HEAD";
    if (with_body)
        text += answer.text;
    co_await write(socket, text);
    if (with_body && !answer.file.empty())
        co_await write_file(socket, answer);
    co_return keep_alive;
}

asio::awaitable<void> converse(tcp::socket socket, std::shared_ptr<const site> files)
{
    try {
        // Head and file are two writes: the second must not wait until the client acknowledges the first (tcp(7)).
        socket.set_option(tcp::no_delay{true});
        std::string received;
        for (bool more = true; more;)
            more = co_await answer_one(socket, received, *files);
    } catch (const std::system_error&) {
        // The client went away, or the file did: either way this connection is over.
    }
}

asio::awaitable<void> serve(tcp::acceptor acceptor, std::shared_ptr<const site> files)
{
    asio::steady_timer breath{acceptor.get_executor()};
    for (;;) {
        std::error_code error;
        tcp::socket socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
        if (!error) {
            asio::co_spawn(acceptor.get_executor(), converse(std::move(socket), files), asio::detached);
            continue;
        }
        // Mostly that descriptors ran out: soon there may be one again.
        breath.expires_after(std::chrono::milliseconds{100});
        co_await breath.async_wait(asio::use_awaitable);
    }
}

} // namespace

server::server(const asio::any_io_executor& executor, const std::filesystem::path& root)
    : site_{std::make_shared<const site>(root)}
{
    tcp::acceptor acceptor{executor, tcp::endpoint{asio::ip::address_v4::loopback(), 0}};
    address_ = acceptor.local_endpoint();
    asio::co_spawn(executor, serve(std::move(acceptor), site_), asio::detached);
}

std::string server::start_url() const
{
    const std::string origin = "http://127.0.0.1:" + std::to_string(address_.port());
    return origin + (site_->has_index() ? "/index.html" : "/");
}

} // namespace crawler
