#pragma once
// A blocking HTTP/1.1 client: exactly what an event loop must not run, so it runs in workers.

#include "url.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace crawler {

/// The server could not be reached, or what it sent is not HTTP.
class http_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct response {
    int status = 0;
    std::string content_type; ///< media type in lower case, without parameters
    std::string location;     ///< as sent; empty when not
    std::string body;         ///< of HTML; of other types it is not kept
    std::uint64_t bytes = 0;  ///< of the body, as far as it was read
};

bool is_html(std::string_view content_type);

/// A connection to one server at a time, kept open between requests to it.
class http_client {
public:
    /// `patience` bounds the connecting and every wait for more bytes; a server that sends a byte now and then is for
    /// the caller's own limit.
    explicit http_client(std::chrono::milliseconds patience) : patience_{patience} {}
    ~http_client() { disconnect(); }

    http_client(const http_client&) = delete;
    http_client& operator=(const http_client&) = delete;

    /// GET `url`, which is a normalised http URL. Redirects are results like others. Throws http_error.
    ///
    /// Bodies that are not HTML are read only while small, to keep the connection; a longer one costs the connection.
    response get(std::string_view url);

private:
    struct head;

    void connect(const endpoint& server);
    void disconnect() noexcept;
    response exchange(std::string_view target);
    head read_head();
    void read_body(const head& header, response& into);
    void read_chunks(std::string* keep, std::uint64_t& bytes);
    void read_rest(std::string* keep, std::uint64_t& bytes);
    void read_exactly(std::uint64_t count, std::string* keep, std::uint64_t& bytes);
    std::string read_line();
    bool fill(); ///< false at the end of the stream
    void send(std::string_view request);

    std::chrono::milliseconds patience_;
    int socket_ = -1;
    std::string authority_;        ///< whom socket_ is connected to
    std::string buffer_;           ///< received; consumed up to used_
    std::size_t used_ = 0;
    bool answered_ = false;        ///< at least one byte of the current response has come
};

} // namespace crawler
