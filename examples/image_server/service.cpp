#include "service.hpp"

#include "page.hpp"

#include <asio/use_awaitable.hpp>

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace image_server {

namespace {

constexpr unsigned narrowest = 16, widest = 2048, usual = 320;
constexpr std::string_view thumb_prefix = "/thumb/";

response json_answer(std::string text)
{
    return {.type = "application/json", .body = std::make_shared<const std::string>(std::move(text)),
            .fields = "Cache-Control: no-store\r\n"};
}

response page()
{
    static const auto text = std::make_shared<const std::string>(page_html);
    return {.type = "text/html; charset=utf-8", .body = text,
            .fields = "Content-Security-Policy: default-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\r\n"
                      "Cache-Control: no-cache\r\n"};
}

unsigned width_in(const request& asked)
{
    const auto found = asked.query.find("w");
    if (found == asked.query.end())
        return usual;
    const std::string& text = found->second;
    unsigned width = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), width);
    if (error != std::errc{} || end != text.data() + text.size() || width < narrowest || width > widest)
        throw std::invalid_argument{"w is not a number from 16 to 2048"};
    return width;
}

format format_in(const request& asked)
{
    const auto found = asked.query.find("as");
    if (found == asked.query.end())
        return format::jpeg;
    for (const format kind : {format::jpeg, format::png, format::webp}) {
        if (std::string_view{media_type(kind)}.substr(std::string_view{"image/"}.size()) == found->second)
            return kind;
    }
    throw std::invalid_argument{"as is none of jpeg, png and webp"};
}

/// What is made from equal files in equal ways is equal, so the answer need not be made to be named.
std::string tag_of(const thumb_key& key)
{
    std::array<char, 64> text;
    std::snprintf(
        text.data(), text.size(), "\"%zx-%u-%u\"", key.photo->fingerprint, key.width, static_cast<unsigned>(key.kind));
    return text.data();
}

} // namespace

asio::awaitable<response> service::answer(const request& asked)
{
    const auto begin = std::chrono::steady_clock::now();
    response answered;
    try {
        answered = co_await routed(asked);
    }
    catch (const std::invalid_argument& e) {
        answered = plain(400, e.what());
    }
    counters_.answered(answered.status, std::chrono::steady_clock::now() - begin);
    co_return answered;
}

asio::awaitable<response> service::routed(const request& asked)
{
    if (asked.method != "GET" && asked.method != "HEAD") {
        response refusal = plain(405, "only GET and HEAD");
        refusal.fields = "Allow: GET, HEAD\r\n";
        co_return refusal;
    }
    if (asked.path.starts_with(thumb_prefix))
        co_return co_await thumb_for(asked);
    if (asked.path == "/healthz")
        co_return plain(200, "ok"); // of this process alone: a pool in trouble is no reason to restart the server
    if (asked.path == "/")
        co_return page();
    if (asked.path == "/state")
        co_return json_answer(seen_.state(pool_, counters_.requests()));
    if (asked.path == "/photos")
        co_return json_answer(witness::names(photos_));
    if (asked.path == "/metrics")
        co_return metrics();
    if (asked.path == "/trace")
        co_return trace();
    co_return plain(404, "there is nothing here");
}

asio::awaitable<response> service::thumb_for(const request& asked)
{
    const photograph* const photo = photos_.find(std::string_view{asked.path}.substr(thumb_prefix.size()));
    if (!photo)
        co_return plain(404, "there is no photograph of that name");
    const thumb_key key{photo, width_in(asked), format_in(asked)};
    const std::string tag = tag_of(key);
    const std::string fields = "ETag: " + tag + "\r\nCache-Control: public, max-age=3600\r\n";
    if (asked.if_none_match.find(tag) != std::string::npos)
        co_return response{.status = 304, .fields = fields};
    thumb made = co_await thumbs_.get(key);
    if (made.status == 200)
        co_return response{.type = media_type(key.kind), .body = std::move(made.bytes), .fields = fields};
    response refusal = plain(made.status, photo->name + ": " + made.reason);
    refusal.fields = made.status == 503 ? "Retry-After: 1\r\nCache-Control: no-store\r\n" : "Cache-Control: no-store\r\n";
    co_return refusal;
}

response service::metrics() const
{
    const std::string text = cofork::prometheus(pool_.stats(), "thumbs") + counters_.text(thumbs_, connections());
    return {.type = "text/plain; version=0.0.4", .body = std::make_shared<const std::string>(text)};
}

response service::trace() const
{
    std::ostringstream out;
    seen_.write_trace(out);
    response answer = json_answer(out.str());
    answer.fields += "Content-Disposition: attachment; filename=\"trace.json\"\r\n";
    return answer;
}

} // namespace image_server
