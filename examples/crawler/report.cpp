#include "report.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <ostream>
#include <string_view>
#include <system_error>

namespace crawler {

namespace {

using nlohmann::json;

constexpr std::size_t most_shown = 20;
constexpr std::size_t most_holders_shown = 3;

double milliseconds(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double, std::milli>{time}.count();
}

std::string fixed(double number, const char* unit)
{
    char text[48];
    std::snprintf(text, sizeof text, "%.1f %s", number, unit);
    return text;
}

std::string size_text(std::uint64_t bytes)
{
    if (bytes < 1000)
        return std::to_string(bytes) + " B";
    const auto number = static_cast<double>(bytes);
    return number < 1e6 ? fixed(number / 1e3, "kB") : fixed(number / 1e6, "MB");
}

const char* name_of(ending end)
{
    switch (end) {
    case ending::complete: return "complete";
    case ending::page_limit: return "page_limit";
    case ending::interrupted: return "interrupted";
    case ending::failed: return "failed";
    }
    return "unknown";
}

void print_holders(std::ostream& out, const std::vector<std::string>& on)
{
    for (std::size_t i = 0; i < std::min(on.size(), most_holders_shown); ++i)
        out << "      on " << on[i] << '\n';
    if (on.size() > most_holders_shown)
        out << "      and on " << on.size() - most_holders_shown << " more\n";
}

// A heading, the first of `list`, and how many are left out.
template <typename List, typename PrintOne>
void print_list(std::ostream& out, std::string_view heading, const List& list, PrintOne print_one)
{
    if (list.empty())
        return;
    out << '\n' << heading << " (" << list.size() << "):\n";
    for (std::size_t i = 0; i < std::min(list.size(), most_shown); ++i)
        print_one(list[i]);
    if (list.size() > most_shown)
        out << "  and " << list.size() - most_shown << " more: --json has them all\n";
}

void print_ending(std::ostream& out, const report& what)
{
    if (what.end == ending::complete)
        return;
    const char* const how = what.end == ending::page_limit    ? "ended at the limit of pages"
                            : what.end == ending::interrupted ? "interrupted"
                                                              : "failed";
    out << "\nThe crawl " << how;
    if (!what.error.empty())
        out << ": " << what.error;
    out << "; " << what.unfetched << " known URLs were not fetched.\n";
}

} // namespace

void print(std::ostream& out, const report& what)
{
    out << what.pages.size() << " pages, " << what.files.size() << " other files, " << size_text(what.bytes) << ", "
        << what.links << " links (" << what.outside << " to other sites), " << what.broken.size() << " broken, "
        << what.failed.size() << " failed, in " << fixed(milliseconds(what.elapsed) / 1e3, "s") << '\n';

    print_list(out, "Broken links", what.broken, [&](const broken_link& link) {
        out << "  " << link.status << "  " << link.url << '\n';
        print_holders(out, link.on);
    });
    print_list(out, "Slowest pages", what.slowest, [&](const timed_page& page) {
        const std::string took = fixed(milliseconds(page.took), "ms");
        out << "  " << took << "  " << size_text(page.bytes) << "  " << page.url << '\n';
    });
    print_list(out, "Failed", what.failed, [&](const failed_item& item) {
        out << "  " << item.url << "\n      " << cofork::describe(item.why) << '\n';
        print_holders(out, item.on);
    });
    print_ending(out, what);
    out.flush();
}

void write_json(const std::filesystem::path& file, const report& what)
{
    json broken = json::array();
    for (const broken_link& link : what.broken)
        broken.push_back({{"url", link.url}, {"status", link.status}, {"on", link.on}});

    json failed = json::array();
    for (const failed_item& item : what.failed)
        failed.push_back({{"url", item.url},
                          {"kind", cofork::to_string(item.why.kind)},
                          {"what", item.why.what},
                          {"type", item.why.type},
                          {"signal", item.why.signal},
                          {"exit_code", item.why.exit_code},
                          {"elapsed_ms", milliseconds(item.why.elapsed)},
                          {"on", item.on}});

    json slowest = json::array();
    for (const timed_page& page : what.slowest)
        slowest.push_back({{"url", page.url}, {"ms", milliseconds(page.took)}, {"bytes", page.bytes}});

    const json all{{"start", what.start},     {"ending", name_of(what.end)},  {"error", what.error},
                   {"pages", what.pages},     {"files", what.files},          {"redirects", what.redirects},
                   {"broken", broken},        {"failed", failed},             {"slowest", slowest},
                   {"bytes", what.bytes},     {"links", what.links},          {"outside_links", what.outside},
                   {"unfetched", what.unfetched}, {"elapsed_ms", milliseconds(what.elapsed)}};

    // The text of a failure may be any bytes: what is no UTF-8 is replaced, where dump() would throw.
    const std::string text = all.dump(2, ' ', false, json::error_handler_t::replace);
    std::ofstream out{file, std::ios::binary};
    if (!(out << text << '\n' << std::flush))
        throw std::system_error{errno, std::generic_category(), "cannot write " + file.string()};
}

} // namespace crawler
