#include "target.hpp"

#include <uriparser/Uri.h>

#include <stdexcept>
#include <string_view>

namespace image_server {

namespace {

std::string_view part(const std::string& target, const http_parser_url& parts, http_parser_url_fields which)
{
    if ((parts.field_set & (1U << which)) == 0)
        return {};
    return std::string_view{target}.substr(parts.field_data[which].off, parts.field_data[which].len);
}

// A percent sign without two digits stays what it is: then it names nothing that we have.
std::string unescaped(std::string text)
{
    const char* const end = ::uriUnescapeInPlaceExA(text.data(), URI_FALSE, URI_BR_DONT_TOUCH);
    text.resize(static_cast<std::size_t>(end - text.data()));
    return text;
}

void dissect(std::string_view query, request& into)
{
    UriQueryListA* first = nullptr;
    int count = 0;
    if (::uriDissectQueryMallocA(&first, &count, query.data(), query.data() + query.size()) != URI_SUCCESS)
        throw std::invalid_argument{"the query cannot be read"};
    for (const UriQueryListA* each = first; each; each = each->next)
        into.query[each->key] = each->value ? each->value : "";
    ::uriFreeQueryListA(first);
}

} // namespace

request parsed_target(const std::string& target)
{
    http_parser_url parts;
    ::http_parser_url_init(&parts);
    if (::http_parser_parse_url(target.data(), target.size(), 0, &parts) != 0)
        throw std::invalid_argument{"the target cannot be read"};
    request asked;
    asked.path = unescaped(std::string{part(target, parts, UF_PATH)});
    if (const std::string_view query = part(target, parts, UF_QUERY); !query.empty())
        dissect(query, asked);
    return asked;
}

} // namespace image_server
