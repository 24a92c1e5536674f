#include "url.hpp"

#include <uriparser/Uri.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>
#include <utility>

namespace crawler {

namespace {

bool is_hex(char c)
{
    return std::isxdigit(static_cast<unsigned char>(c)) != 0;
}

std::string_view without_space(std::string_view text)
{
    constexpr std::string_view space = " \t\r\n\f";
    const auto first = text.find_first_not_of(space);
    if (first == text.npos)
        return {};
    return text.substr(first, text.find_last_not_of(space) - first + 1);
}

// Where path and query begin: brackets are legal before (an IPv6 host) and illegal after.
std::size_t end_of_authority(std::string_view text)
{
    const auto slashes = text.find("//");
    if (slashes == text.npos || (slashes > 0 && text[slashes - 1] != ':') || text.find_first_of("/?") < slashes)
        return 0;
    return std::min(text.find_first_of("/?", slashes + 2), text.size());
}

void append_encoded(std::string& out, char c)
{
    constexpr char digits[] = "0123456789ABCDEF";
    const auto byte = static_cast<unsigned char>(c);
    out += {'%', digits[byte >> 4], digits[byte & 15]};
}

// `text` without its fragment, with every character that RFC 3986 does not allow percent-encoded. Line ends and tabs
// inside are dropped, as browsers do: pages break long links over lines.
std::string made_legal(std::string_view text)
{
    text = without_space(text.substr(0, text.find('#')));
    const std::size_t authority_end = end_of_authority(text);
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (c == '\n' || c == '\r' || c == '\t')
            continue;
        const bool bare_percent = c == '%' && !(i + 2 < text.size() && is_hex(text[i + 1]) && is_hex(text[i + 2]));
        const bool stray_bracket = (c == '[' || c == ']') && i >= authority_end;
        const bool illegal = c <= ' ' || c > '~' || std::string_view{"\"<>\\^`{|}"}.find(c) != std::string_view::npos;
        if (bare_percent || stray_bracket || illegal)
            append_encoded(out, c);
        else
            out += c;
    }
    return out;
}

std::string_view text_of(const UriTextRangeA& range)
{
    return range.first ? std::string_view{range.first, static_cast<std::size_t>(range.afterLast - range.first)}
                       : std::string_view{};
}

/// Owns what uriparser allocates for one URI.
class uri {
public:
    uri() = default;
    uri(const uri&) = delete;
    uri& operator=(const uri&) = delete;
    ~uri() { ::uriFreeUriMembersA(&members_); }

    UriUriA* get() noexcept { return &members_; }
    const UriUriA* get() const noexcept { return &members_; }

    /// The result refers to `text`.
    bool parse(const std::string& text) noexcept
    {
        const char* error = nullptr;
        return ::uriParseSingleUriExA(&members_, text.data(), text.data() + text.size(), &error) == URI_SUCCESS;
    }

private:
    UriUriA members_{};
};

// Composed by hand and not by uriToStringA: no user information, no default port, no empty path.
std::optional<std::string> composed(const UriUriA& u)
{
    const std::string_view scheme = text_of(u.scheme);
    const std::string_view host = text_of(u.hostText);
    const std::string_view port = text_of(u.portText);
    if ((scheme != "http" && scheme != "https") || host.empty())
        return std::nullopt;

    const bool bracketed = host.find(':') != host.npos;
    std::string out{scheme};
    out += bracketed ? "://[" : "://";
    out += host;
    if (bracketed)
        out += ']';
    if (!port.empty() && port != (scheme == "http" ? "80" : "443"))
        out.append(":").append(port);
    for (const UriPathSegmentA* s = u.pathHead; s; s = s->next)
        out.append("/").append(text_of(s->text));
    if (!u.pathHead)
        out += '/';
    if (u.query.first)
        out.append("?").append(text_of(u.query));
    return out;
}

} // namespace

class base_url::parsed {
public:
    explicit parsed(std::string text) : text_{std::move(text)}
    {
        if (!uri_.parse(text_) || !uri_.get()->scheme.first)
            throw std::invalid_argument{"not an absolute URL: " + text_};
    }

    const UriUriA* get() const noexcept { return uri_.get(); }

private:
    std::string text_;
    uri uri_;
};

base_url::base_url(std::string_view url)
{
    const auto absolute = normalised(url);
    if (!absolute)
        throw std::invalid_argument{"not an absolute http URL: " + std::string{url}};
    parsed_ = std::make_unique<parsed>(*absolute);
}

base_url::~base_url() = default;
base_url::base_url(base_url&&) noexcept = default;
base_url& base_url::operator=(base_url&&) noexcept = default;

std::optional<std::string> base_url::resolve(std::string_view reference) const
{
    const std::string text = made_legal(reference);
    uri relative;
    uri absolute;
    if (!relative.parse(text))
        return std::nullopt;
    if (::uriAddBaseUriExA(absolute.get(), relative.get(), parsed_->get(), URI_RESOLVE_STRICTLY) != URI_SUCCESS)
        return std::nullopt;
    if (::uriNormalizeSyntaxA(absolute.get()) != URI_SUCCESS)
        return std::nullopt;
    return composed(*absolute.get());
}

std::optional<std::string> normalised(std::string_view text)
{
    const std::string legal = made_legal(text);
    uri absolute;
    if (!absolute.parse(legal) || ::uriNormalizeSyntaxA(absolute.get()) != URI_SUCCESS)
        return std::nullopt;
    return composed(*absolute.get());
}

std::string_view origin_of(std::string_view url)
{
    return url.substr(0, url.find('/', url.find("://") + 3));
}

std::string_view target_of(std::string_view url)
{
    return url.substr(origin_of(url).size());
}

endpoint endpoint_of(std::string_view url)
{
    std::string_view authority = origin_of(url);
    authority.remove_prefix(authority.find("://") + 3);

    const auto bracket = authority.find(']');
    const auto colon = authority.find(':', bracket == authority.npos ? 0 : bracket);
    std::string_view host = authority.substr(0, colon);
    if (bracket != authority.npos)
        host = authority.substr(1, bracket - 1);
    const std::string_view port = colon == authority.npos ? "80" : authority.substr(colon + 1);
    return {std::string{host}, std::string{port}, std::string{authority}};
}

} // namespace crawler
