#pragma once
// The embedded web server: on the crawl's own event loop, which the workers never block.

#include "site.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/ip/tcp.hpp>

#include <memory>
#include <string>

namespace crawler {

/// Serves a directory on a free port of the loopback interface, until the event loop ends.
class server {
public:
    /// Throws std::system_error when it cannot listen, std::filesystem::filesystem_error when `root` is not there.
    server(const asio::any_io_executor& executor, const std::filesystem::path& root);

    /// Where a crawl of it starts: its index.html, or the list of its files.
    [[nodiscard]] std::string start_url() const;

private:
    std::shared_ptr<const site> site_;
    asio::ip::tcp::endpoint address_;
};

} // namespace crawler
