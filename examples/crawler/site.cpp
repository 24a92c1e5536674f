#include "site.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace crawler {

namespace fs = std::filesystem;

namespace {

std::optional<std::string> percent_decoded(std::string_view text)
{
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const std::string_view digits = text.substr(i + 1, 2);
        unsigned byte = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
        if (error != std::errc{} || end != digits.data() + 2 || byte == 0)
            return std::nullopt;
        out += static_cast<char>(byte);
        i += 2;
    }
    return out;
}

std::string percent_encoded(std::string_view path)
{
    constexpr std::string_view kept = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";
    constexpr char digits[] = "0123456789ABCDEF";
    std::string out;
    for (const char c : path) {
        const auto byte = static_cast<unsigned char>(c);
        if (kept.find(c) != kept.npos)
            out += c;
        else
            out += {'%', digits[byte >> 4], digits[byte & 15]};
    }
    return out;
}

std::string html_escaped(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        if (c == '<' || c == '>' || c == '&' || c == '"')
            out.append("&#").append(std::to_string(static_cast<int>(c))).append(";");
        else
            out += c;
    }
    return out;
}

std::string content_type_of(const fs::path& file)
{
    constexpr std::array<std::pair<std::string_view, const char*>, 16> types{{
        {".html", "text/html"},        {".htm", "text/html"},         {".css", "text/css"},
        {".js", "text/javascript"},    {".txt", "text/plain"},        {".xml", "text/xml"},
        {".json", "application/json"}, {".pdf", "application/pdf"},   {".png", "image/png"},
        {".jpg", "image/jpeg"},        {".jpeg", "image/jpeg"},       {".gif", "image/gif"},
        {".svg", "image/svg+xml"},     {".ico", "image/x-icon"},      {".webp", "image/webp"},
        {".gz", "application/gzip"},
    }};
    const std::string extension = file.extension().string();
    const auto* const found = std::ranges::find(types, extension, [](const auto& entry) { return entry.first; });
    return found == types.end() ? "application/octet-stream" : found->second;
}

reply text_reply(int status, std::string text)
{
    reply answer{.status = status, .text = std::move(text)};
    answer.size = answer.text.size();
    return answer;
}

reply not_found()
{
    return text_reply(404, "<!DOCTYPE html>\n<title>404 Not Found</title>\n<h1>404 Not Found</h1>\n");
}

reply list_of(const fs::path& directory, const std::string& title)
{
    std::vector<std::string> names;
    std::error_code error;
    for (fs::directory_iterator entry{directory, error}, end; !error && entry != end; entry.increment(error)) {
        std::error_code ignored; // of an entry that vanished
        names.push_back(entry->path().filename().string() + (entry->is_directory(ignored) ? "/" : ""));
    }
    if (error)
        return text_reply(403, "<!DOCTYPE html>\n<title>403 Forbidden</title>\n<h1>403 Forbidden</h1>\n");
    std::ranges::sort(names);

    std::string text = "<!DOCTYPE html>\n<title>Index of " + html_escaped(title) + "</title>\n<h1>Index of " +
                       html_escaped(title) + "</h1>\n<ul>\n";
    for (const std::string& name : names)
        text += "<li><a href=\"" + percent_encoded(name) + "\">" + html_escaped(name) + "</a></li>\n";
    return text_reply(200, text + "</ul>\n");
}

bool is_inside(const fs::path& root, const fs::path& file)
{
    return std::mismatch(root.begin(), root.end(), file.begin(), file.end()).first == root.end();
}

} // namespace

reply site::get(std::string_view target) const
{
    const auto path = percent_decoded(target.substr(0, target.find('?')));
    if (!path || !path->starts_with('/'))
        return not_found();

    // Links are followed before the check, so that none leads out.
    std::error_code error;
    const fs::path wanted = root_ / path->substr(std::min(path->find_first_not_of('/'), path->size()));
    fs::path found = fs::canonical(wanted, error);
    if (error || !is_inside(root_, found))
        return not_found();

    if (fs::is_directory(found, error)) {
        const fs::path below = found.lexically_relative(root_);
        std::string url = "/";
        if (below != ".")
            url.append(below.string()).append("/");
        if (!path->ends_with('/')) {
            reply moved = text_reply(301, "<!DOCTYPE html>\n<title>301 Moved</title>\n");
            moved.location = percent_encoded(url);
            return moved;
        }
        const fs::path index = fs::canonical(found / "index.html", error);
        if (error || !is_inside(root_, index))
            return list_of(found, url);
        found = index;
    }
    if (!fs::is_regular_file(found, error))
        return not_found();
    const std::uintmax_t size = fs::file_size(found, error);
    if (error)
        return not_found();
    return {.content_type = content_type_of(found), .file = found, .size = size};
}

} // namespace crawler
