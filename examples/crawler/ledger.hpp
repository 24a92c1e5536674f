#pragma once
// The books of a crawl: which URLs are known, who links to them, what became of each. No processes, no network.

#include "fetch.hpp"
#include "report.hpp"

#include <cofork/failure.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace crawler {

/// Every URL is an item once, whatever links to it. Items are numbered in the order in which they are handed out.
///
/// Inside the site are the URLs that share scheme, host and port with a start URL. Others are counted, not fetched.
class ledger {
public:
    /// `start` holds normalised URLs.
    explicit ledger(const std::vector<std::string>& start);

    /// URLs that nobody has been given yet. The caller fetches them; the nth ever given is item n, from 0.
    std::vector<url_item> take_new();

    /// Item `index` came back.
    void add(std::size_t index, const page& got);
    /// Item `index` did not.
    void add(std::size_t index, const cofork::failure& why);

    /// Pages read so far.
    [[nodiscard]] std::size_t pages() const noexcept { return pages_; }

    /// All but how the crawl ended and how long it took.
    [[nodiscard]] report summary() const;

private:
    enum class state { waiting, page, file, redirect, broken, failed };

    struct entry {
        std::string url;
        std::vector<std::uint32_t> on{}; // numbers of the entries that lead here
        std::optional<cofork::failure> why{}; // of a failed one
        unsigned hops = 0;     // redirects on the way here
        bool is_start = false; // or where a start URL redirects to
        state now = state::waiting;
        int status = 0;
        std::uint64_t bytes = 0;
        std::chrono::nanoseconds took{0};
    };

    void link(std::size_t from, const std::string& to);
    std::vector<std::string> holders(const entry& of) const;

    std::vector<std::string> start_;
    std::unordered_set<std::string> origins_;
    std::vector<entry> entries_;
    std::unordered_map<std::string, std::uint32_t> numbers_; // of entries, by URL
    std::size_t handed_out_ = 0;
    std::size_t pages_ = 0;
    std::size_t links_ = 0;
    std::size_t outside_ = 0;
};

} // namespace crawler
