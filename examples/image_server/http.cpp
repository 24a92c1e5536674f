#include "http.hpp"

#include "target.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include <strings.h>

namespace image_server {

namespace {

constexpr int go_on = 0;
constexpr int stop = 1;

const char* phrase_of(int status)
{
    switch (status) {
#define PHRASE(number, name, text)                                                                                               \
    case number: return #text;
        HTTP_STATUS_MAP(PHRASE)
#undef PHRASE
    default: return "";
    }
}

} // namespace

response plain(int status, const std::string& reason)
{
    return {.status = status, .body = std::make_shared<const std::string>(reason + "\n")};
}

std::string head_of(const response& answer, bool keep_alive)
{
    std::string head = "HTTP/1.1 " + std::to_string(answer.status) + " " + phrase_of(answer.status) + "\r\n" + answer.fields;
    if (answer.status != 304) { // has no body, and what it would be is not known here
        head += "Content-Type: " + answer.type + "\r\n";
        head += "Content-Length: " + std::to_string(answer.body ? answer.body->size() : 0) + "\r\n";
    }
    head += "X-Content-Type-Options: nosniff\r\n";
    head += keep_alive ? "\r\n" : "Connection: close\r\n\r\n";
    return head;
}

/// What the parser calls. It gives pieces: a name or value may come in several.
struct reader_callbacks {
    static request_reader& of(http_parser* p) { return *static_cast<request_reader*>(p->data); }

    static int refuse(http_parser* p, int status)
    {
        of(p).refused_ = status;
        return stop;
    }

    static int url(http_parser* p, const char* at, std::size_t n)
    {
        of(p).target_.append(at, n);
        return of(p).target_.size() > most_target ? refuse(p, 414) : go_on;
    }

    static void end_of_field(request_reader& r)
    {
        if (::strcasecmp(r.field_.c_str(), "host") == 0)
            r.has_host_ = true;
        else if (::strcasecmp(r.field_.c_str(), "if-none-match") == 0)
            r.if_none_match_ = r.value_;
        r.field_.clear();
        r.value_.clear();
        r.in_value_ = false;
    }

    static int field(http_parser* p, const char* at, std::size_t n)
    {
        request_reader& r = of(p);
        if (r.in_value_)
            end_of_field(r);
        r.field_.append(at, n);
        return go_on;
    }

    static int value(http_parser* p, const char* at, std::size_t n)
    {
        of(p).in_value_ = true;
        of(p).value_.append(at, n);
        return go_on;
    }

    static int headers_complete(http_parser* p)
    {
        request_reader& r = of(p);
        end_of_field(r);
        r.headed_ = true;
        if (p->http_major != 1)
            return refuse(p, 505);
        if (p->http_minor > 0 && !r.has_host_) // RFC 9112, 3.2
            return refuse(p, 400);
        const bool known = p->content_length != std::numeric_limits<std::uint64_t>::max();
        return known && p->content_length > most_body ? refuse(p, 413) : go_on;
    }

    static int body(http_parser* p, const char*, std::size_t n)
    {
        of(p).body_ += n;
        return of(p).body_ > most_body ? refuse(p, 413) : go_on;
    }

    static int message_complete(http_parser* p)
    {
        request_reader& r = of(p);
        r.complete_ = true;
        r.keep_alive_ = ::http_should_keep_alive(p) != 0 && p->method != HTTP_CONNECT;
        ::http_parser_pause(p, 1); // what follows is another request's
        return go_on;
    }

    static http_parser_settings all() noexcept
    {
        http_parser_settings s{};
        s.on_url = url;
        s.on_header_field = field;
        s.on_header_value = value;
        s.on_headers_complete = headers_complete;
        s.on_body = body;
        s.on_message_complete = message_complete;
        return s;
    }
};

request_reader::request_reader()
{
    ::http_parser_init(&parser_, HTTP_REQUEST);
    parser_.data = this;
}

std::size_t request_reader::take(std::string_view bytes)
{
    static const http_parser_settings callbacks = reader_callbacks::all();
    const std::string_view now = headed_ ? bytes : bytes.substr(0, most_head - taken_);
    const std::size_t used = ::http_parser_execute(&parser_, &callbacks, now.data(), now.size());
    taken_ += used;
    if (complete_ || refused_ != 0)
        return used;
    if (HTTP_PARSER_ERRNO(&parser_) == HPE_HEADER_OVERFLOW || (!headed_ && taken_ >= most_head))
        refused_ = 431;
    else if (HTTP_PARSER_ERRNO(&parser_) != HPE_OK)
        refused_ = 400;
    return used;
}

request request_reader::result()
{
    request asked = parsed_target(target_);
    asked.method = ::http_method_str(static_cast<http_method>(parser_.method));
    asked.if_none_match = std::move(if_none_match_);
    asked.keep_alive = keep_alive_;
    return asked;
}

} // namespace image_server
