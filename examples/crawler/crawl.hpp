#pragma once
// The crawl itself: the part that is about cofork.

#include "options.hpp"
#include "report.hpp"

#include <asio/awaitable.hpp>

#include <string>
#include <vector>

namespace crawler {

/// Crawls from `start`, which holds normalised http URLs, and gives what was found. Cancellation (terminal) is no
/// error: it ends the crawl with the report so far.
asio::awaitable<report> crawl(settings chosen, std::vector<std::string> start);

} // namespace crawler
