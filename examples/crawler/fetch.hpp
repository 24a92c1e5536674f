#pragma once
// The work of one item: fetch a URL and find its links. Blocking, CPU-bound and fed by strangers: a worker's job.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace crawler {

/// One URL to fetch. Normalised.
struct url_item {
    std::string url;

    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(url);
    }
};

/// What came back, whatever its status.
struct page {
    int status = 0;
    bool html = false;
    std::string location; ///< where a redirect leads, normalised; else empty
    std::uint64_t bytes = 0;
    std::chrono::nanoseconds took{0}; ///< fetching and parsing
    std::vector<std::string> links;   ///< distinct, normalised, also those to other sites

    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(status, html, location, bytes, took, links);
    }
};

/// What is the same for every item. Path and query of a URL whose page shall go wrong, for tests and demonstrations.
struct fetch_settings {
    std::string crash; ///< its parser crashes
    std::string hang;  ///< its parser never ends
    std::string bomb;  ///< its parser allocates without end
};

/// Runs in a worker. Throws http_error.
page fetch_page(const fetch_settings& settings, const url_item& item);

/// Whether fetch_page can stop a page that allocates without end: not in a build with AddressSanitizer, whose shadow
/// memory no limit on memory leaves room for.
bool can_limit_memory();

} // namespace crawler
