#pragma once
// What a crawl has found, for people and for programs.

#include <cofork/failure.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

namespace crawler {

enum class ending {
    complete,    ///< every URL inside the site has been fetched
    page_limit,  ///< settings::max_pages was reached
    interrupted, ///< by a signal
    failed,      ///< the call as a whole failed: report::error
};

/// A URL that answers with an error status, or redirects to nowhere.
struct broken_link {
    std::string url;
    int status = 0;
    std::vector<std::string> on; ///< the pages that link to it, and URLs that redirect there, sorted
};

/// A URL whose item has no value.
struct failed_item {
    std::string url;
    cofork::failure why;
    std::vector<std::string> on;
};

struct timed_page {
    std::string url;
    std::chrono::nanoseconds took{0};
    std::uint64_t bytes = 0;
};

/// All lists are sorted: by URL, the slowest pages by time.
struct report {
    std::vector<std::string> start;
    std::vector<std::string> pages;     ///< status below 300, HTML
    std::vector<std::string> files;     ///< status below 300, anything else
    std::vector<std::string> redirects; ///< that lead to somewhere
    std::vector<broken_link> broken;
    std::vector<failed_item> failed;
    std::vector<timed_page> slowest;
    std::uint64_t bytes = 0;   ///< of pages and files, as far as they were read
    std::size_t links = 0;     ///< on all pages, each once per page
    std::size_t outside = 0;   ///< of these, to other sites: not fetched
    std::size_t unfetched = 0; ///< known URLs that have no outcome: only when the crawl ended early
    std::chrono::nanoseconds elapsed{0};
    ending end = ending::complete;
    std::string error;
};

/// A page of text: the first of each list.
void print(std::ostream& out, const report& what);

/// Everything, as one JSON object. Throws std::system_error when the file cannot be written.
void write_json(const std::filesystem::path& file, const report& what);

} // namespace crawler
