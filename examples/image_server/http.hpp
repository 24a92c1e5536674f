#pragma once
// HTTP/1.x as bytes: requests are read from them (http-parser), answers become them.

#include <http_parser.h>

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace image_server {

// Limits of one request. Whoever needs more asks for nothing that is here.
constexpr std::size_t most_head = 16 * 1024;
constexpr std::size_t most_target = 2 * 1024;
constexpr std::size_t most_body = 64 * 1024; // is read and thrown away

struct request {
    std::string method;
    std::string path;                                       ///< percent-decoded, without the query
    std::map<std::string, std::string, std::less<>> query;  ///< percent-decoded; of several of a name the last
    std::string if_none_match;
    bool keep_alive = false;
};

/// An answer. What it says of itself, Content-Length and Connection are added when it is sent.
struct response {
    int status = 200;
    std::string type = "text/plain; charset=utf-8";
    std::shared_ptr<const std::string> body = {};
    std::string fields = {}; ///< more header fields, each with its line end
};

/// A text for people: `reason` and a line end.
response plain(int status, const std::string& reason);
/// Status line and fields, up to and with the empty line.
std::string head_of(const response& answer, bool keep_alive);

/// Reads one request. What follows it in the bytes is left for the next reader.
class request_reader {
public:
    request_reader();
    request_reader(const request_reader&) = delete;
    request_reader& operator=(const request_reader&) = delete;

    /// Takes bytes up to the end of the request and gives how many it took. Not after it is complete or refused.
    std::size_t take(std::string_view bytes);

    bool complete() const noexcept { return complete_; }
    /// The status that it must be refused with, and nothing after it be read; 0 while all is well.
    int refused() const noexcept { return refused_; }
    /// The request. Throws std::invalid_argument when its target is none. Once, when it is complete.
    request result();

private:
    friend struct reader_callbacks;

    http_parser parser_;
    std::string target_;
    std::string field_; // name of the header field that is being read
    std::string value_;
    std::string if_none_match_;
    std::size_t taken_ = 0;
    std::size_t body_ = 0;
    bool has_host_ = false;
    bool keep_alive_ = false;
    bool in_value_ = false;
    bool headed_ = false;
    bool complete_ = false;
    int refused_ = 0;
};

} // namespace image_server
