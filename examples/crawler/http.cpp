#include "http.hpp"

#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace crawler {

namespace {

// A server is hostile until shown otherwise: none of these sizes is its choice.
constexpr std::size_t max_line = 16 * 1024;
constexpr std::size_t max_fields = 200;
constexpr std::uint64_t max_html = std::uint64_t{64} << 20;
constexpr std::uint64_t max_skipped = std::uint64_t{1} << 20;

std::string lower(std::string_view text)
{
    std::string out{text};
    std::ranges::transform(out, out.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return out;
}

std::string_view trimmed(std::string_view text)
{
    const auto first = text.find_first_not_of(" \t");
    return first == text.npos ? std::string_view{} : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <typename Number>
Number number(std::string_view text, int base, const char* where)
{
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size())
        throw http_error{std::string{where} + " is not a number: " + std::string{text.substr(0, 40)}};
    return value;
}

[[noreturn]] void fail(const char* call, int error)
{
    if (error == EAGAIN || error == EWOULDBLOCK || error == EINPROGRESS) // how SO_*TIMEO reports, socket(7)
        throw http_error{std::string{call} + ": the server kept us waiting too long"};
    throw http_error{std::string{call} + ": " + std::system_category().message(error)};
}

} // namespace

struct http_client::head {
    int status = 0;
    std::string content_type;
    std::string location;
    std::optional<std::uint64_t> length;
    bool chunked = false;
    bool closes = false;

    void add_field(const std::string& name, std::string_view value);
};

void http_client::head::add_field(const std::string& name, std::string_view value)
{
    if (name == "content-type") {
        content_type = lower(trimmed(value.substr(0, value.find(';'))));
    } else if (name == "location") {
        location = value;
    } else if (name == "content-length") {
        const auto given = number<std::uint64_t>(value, 10, "Content-Length");
        if (length && *length != given)
            throw http_error{"two different Content-Length fields"};
        length = given;
    } else if (name == "transfer-encoding") {
        if (lower(value) != "chunked")
            throw http_error{"unknown Transfer-Encoding: " + std::string{value}};
        chunked = true;
    } else if (name == "connection") {
        closes = closes || lower(value).find("close") != std::string::npos;
    }
}

bool is_html(std::string_view content_type)
{
    return content_type == "text/html" || content_type == "application/xhtml+xml";
}

response http_client::get(std::string_view url)
{
    const endpoint server = endpoint_of(url);
    if (socket_ >= 0 && authority_ == server.authority) {
        try {
            return exchange(target_of(url));
        } catch (const http_error&) {
            // A server may close an idle connection at any moment (RFC 9112 §9.3.1): once more on a new one, unless
            // it had begun to answer.
            disconnect();
            if (answered_)
                throw;
        }
    }
    try {
        connect(server);
        return exchange(target_of(url));
    } catch (...) {
        disconnect();
        throw;
    }
}

void http_client::connect(const endpoint& server)
{
    disconnect();
    ::addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    ::addrinfo* found = nullptr;
    if (const int error = ::getaddrinfo(server.host.c_str(), server.port.c_str(), &hints, &found); error != 0)
        throw http_error{server.host + ": " + ::gai_strerror(error)};
    const std::unique_ptr<::addrinfo, decltype(&::freeaddrinfo)> addresses{found, &::freeaddrinfo};

    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(patience_);
    const ::timeval limit{.tv_sec = seconds.count(),
                          .tv_usec = std::chrono::microseconds{patience_ - seconds}.count()};
    int error = 0;
    for (const ::addrinfo* a = found; a; a = a->ai_next) {
        socket_ = ::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (socket_ < 0) {
            error = errno;
            continue;
        }
        // SO_SNDTIMEO also bounds connect(), socket(7).
        ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        if (::connect(socket_, a->ai_addr, a->ai_addrlen) == 0) {
            authority_ = server.authority;
            return;
        }
        error = errno;
        disconnect();
    }
    fail("connect", error);
}

void http_client::disconnect() noexcept
{
    if (const int old = std::exchange(socket_, -1); old >= 0)
        ::close(old);
    buffer_.clear();
    used_ = 0;
}

response http_client::exchange(std::string_view target)
{
    answered_ = false;
    std::string request{"GET "};
    request.append(target).append(" HTTP/1.1\r\nHost: ").append(authority_);
    request += "\r\nUser-Agent: cofork-crawler\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n";
    send(request);

    head header = read_head();
    response result{.status = header.status,
                    .content_type = std::move(header.content_type),
                    .location = std::move(header.location),
                    .body = {}};
    read_body(header, result);
    if (header.closes || used_ != buffer_.size()) // bytes that nobody asked for would be read as the next answer
        disconnect();
    return result;
}

http_client::head http_client::read_head()
{
    for (;;) {
        const std::string status_line = read_line();
        // "HTTP/1.1 200 OK"
        if (!status_line.starts_with("HTTP/1.") || status_line.size() < 12 || status_line[8] != ' ')
            throw http_error{"not an HTTP/1 response: " + status_line.substr(0, 40)};
        head header;
        header.status = number<int>(std::string_view{status_line}.substr(9, 3), 10, "the status");
        header.closes = status_line[7] == '0';
        std::size_t fields = 0;
        for (std::string line = read_line(); !line.empty(); line = read_line()) {
            const auto colon = line.find(':');
            if (colon == line.npos || ++fields > max_fields)
                throw http_error{"a malformed or endless header"};
            header.add_field(lower(line.substr(0, colon)), trimmed(std::string_view{line}.substr(colon + 1)));
        }
        if (header.status >= 200)
            return header;
        // 100 to 199 announce the response that follows (RFC 9110 §15.2).
    }
}

void http_client::read_body(const head& header, response& into)
{
    if (header.status == 204 || header.status == 304)
        return;
    const bool html = is_html(into.content_type);
    if (!html && (header.chunked || header.length.value_or(max_skipped) >= max_skipped)) {
        disconnect();
        return;
    }
    std::string* const keep = html ? &into.body : nullptr;
    if (header.chunked)
        read_chunks(keep, into.bytes);
    else if (header.length)
        read_exactly(*header.length, keep, into.bytes);
    else
        read_rest(keep, into.bytes);
}

void http_client::read_chunks(std::string* keep, std::uint64_t& bytes)
{
    for (;;) {
        const std::string line = read_line();
        const std::string_view digits = trimmed(std::string_view{line}.substr(0, line.find(';')));
        const auto size = number<std::uint64_t>(digits, 16, "a chunk size");
        if (size == 0)
            break;
        read_exactly(size, keep, bytes);
        if (!read_line().empty())
            throw http_error{"a chunk is longer than it says"};
    }
    for (std::size_t trailers = 0; !read_line().empty();)
        if (++trailers > max_fields)
            throw http_error{"endless trailers"};
}

void http_client::read_rest(std::string* keep, std::uint64_t& bytes)
{
    do
        read_exactly(buffer_.size() - used_, keep, bytes);
    while (fill());
    disconnect();
}

void http_client::read_exactly(std::uint64_t count, std::string* keep, std::uint64_t& bytes)
{
    if (count > max_html - std::min(bytes, max_html))
        throw http_error{"the page is larger than " + std::to_string(max_html >> 20) + " MiB"};
    while (count > 0) {
        if (used_ == buffer_.size() && !fill())
            throw http_error{"the connection ended within a page"};
        const auto take = static_cast<std::size_t>(std::min<std::uint64_t>(count, buffer_.size() - used_));
        if (keep)
            keep->append(buffer_, used_, take);
        used_ += take;
        bytes += take;
        count -= take;
    }
}

std::string http_client::read_line()
{
    for (;;) {
        if (const auto end = buffer_.find('\n', used_); end != buffer_.npos) {
            std::string line = buffer_.substr(used_, end - used_);
            used_ = end + 1;
            if (line.ends_with('\r'))
                line.pop_back();
            return line;
        }
        if (buffer_.size() - used_ > max_line)
            throw http_error{"a header line without end"};
        if (!fill())
            throw http_error{"the connection ended before the answer did"};
    }
}

bool http_client::fill()
{
    buffer_.erase(0, std::exchange(used_, 0));
    std::array<char, 16 * 1024> chunk;
    ssize_t got = 0;
    do
        got = ::recv(socket_, chunk.data(), chunk.size(), 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        fail("recv", errno);
    buffer_.append(chunk.data(), static_cast<std::size_t>(got));
    answered_ = answered_ || got > 0;
    return got > 0;
}

void http_client::send(std::string_view request)
{
    while (!request.empty()) {
        const ssize_t sent = ::send(socket_, request.data(), request.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            fail("send", errno);
        request.remove_prefix(static_cast<std::size_t>(sent));
    }
}

} // namespace crawler
