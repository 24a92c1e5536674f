#include "options.hpp"

#include "url.hpp"

#include <charconv>
#include <cmath>
#include <string_view>
#include <utility>

namespace crawler {

const char* const help_text =
    R"(usage: crawler [options] URL...
       crawler [options] --serve DIR

Fetches the pages of a site, follows the links inside it, and reports its size, its broken links, its slowest pages
and what went wrong. Pages are fetched and parsed in worker processes: one that makes the parser crash, hang or
take all memory costs that page alone.

  --workers N      most worker processes at once (default: one per processor)
  --pause TIME     least time between the starts of two requests, over all workers (default: 0)
  --timeout TIME   most time for one page; then its worker is killed (default: 30s)
  --max-pages N    end when N pages have been read
  --json FILE      write the report to FILE as well
  --serve DIR      serve DIR on the loopback interface, and crawl that
  --help           show this

TIME is a number with ms, s or min behind it; without a unit it is seconds.
Ctrl-C ends the crawl with the report so far. robots.txt is not read: crawl what is yours, or with a --pause.
Exit status: 0 the crawl is complete, 1 no start URL could be fetched or something else failed, 2 the command line is
wrong, 130 ended by Ctrl-C.
)";

namespace {

template <typename Number>
Number count(std::string_view name, std::string_view text)
{
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        throw usage_error{std::string{name} + ": not a number of the kind wanted: " + std::string{text}};
    return value;
}

std::chrono::nanoseconds duration(std::string_view name, std::string_view text)
{
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    const double seconds = unit == "ms" ? 1e-3 : unit == "s" || unit.empty() ? 1 : unit == "min" ? 60 : -1;
    if (error != std::errc{} || seconds < 0 || !(value >= 0) || value * seconds > 1e6)
        throw usage_error{std::string{name} + ": not a time: " + std::string{text}};
    return std::chrono::nanoseconds{std::llround(value * seconds * 1e9)};
}

std::string start_url(std::string_view text)
{
    auto url = normalised(text.find("://") == text.npos ? "http://" + std::string{text} : std::string{text});
    if (!url || !url->starts_with("http://"))
        throw usage_error{"not an http URL: " + std::string{text}};
    return std::move(*url);
}

// Whether `name` is an option that takes a value, which is then stored.
bool store(settings& into, std::string_view name, std::string_view value)
{
    if (name == "--workers")
        into.workers = count<unsigned>(name, value);
    else if (name == "--pause")
        into.pause = duration(name, value);
    else if (name == "--timeout")
        into.timeout = duration(name, value);
    else if (name == "--max-pages")
        into.max_pages = count<std::size_t>(name, value);
    else if (name == "--json")
        into.json = value;
    else if (name == "--serve")
        into.serve = value;
    else if (name == "--inject-crash")
        into.faults.crash = value;
    else if (name == "--inject-hang")
        into.faults.hang = value;
    else if (name == "--inject-bomb")
        into.faults.bomb = value;
    else
        return false;
    return true;
}

void check(const settings& chosen)
{
    if (chosen.help)
        return;
    if (chosen.start.empty() && chosen.serve.empty())
        throw usage_error{"neither a URL nor --serve"};
    if (!chosen.start.empty() && !chosen.serve.empty())
        throw usage_error{"either URLs or --serve: what is served is what is crawled"};
    if (!chosen.serve.empty() && !std::filesystem::is_directory(chosen.serve))
        throw usage_error{"--serve: not a directory: " + chosen.serve.string()};
    // Without workers pages are fetched in this process, by calls that block the very loop that is to serve them.
    if (!chosen.serve.empty() && chosen.workers == 0u)
        throw usage_error{"--serve needs workers: --workers 1 or more"};
    if (!chosen.faults.bomb.empty() && !can_limit_memory())
        throw usage_error{"--inject-bomb: no limit on memory in a build with AddressSanitizer"};
}

} // namespace

settings parse_command_line(int argc, const char* const* argv)
{
    settings chosen;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--help" || argument == "-h") {
            chosen.help = true;
        } else if (!argument.starts_with('-')) {
            chosen.start.push_back(start_url(argument));
        } else if (const auto equals = argument.find('='); equals != argument.npos) {
            if (!store(chosen, argument.substr(0, equals), argument.substr(equals + 1)))
                throw usage_error{"unknown option: " + std::string{argument}};
        } else {
            const bool last = i + 1 == argc;
            if (!store(chosen, argument, last ? "" : argv[i + 1]))
                throw usage_error{"unknown option: " + std::string{argument}};
            if (last)
                throw usage_error{std::string{argument} + " needs a value"};
            ++i;
        }
    }
    check(chosen);
    return chosen;
}

} // namespace crawler
