#pragma once
// Thumbs: from the cache, from a request that is making the same one, or from a worker.

#include "cache.hpp"
#include "options.hpp"

#include <cofork/pool.hpp>

#include <asio/awaitable.hpp>
#include <asio/steady_timer.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace image_server {

/// A thumb, or why there is none.
struct thumb {
    int status = 200; ///< of HTTP
    cache::bytes bytes;
    std::string reason; ///< when the status is another than 200
};

struct thumb_counts {
    std::uint64_t hits = 0;   ///< found in the cache
    std::uint64_t shared = 0; ///< waited for what another request was making
    std::uint64_t made = 0;   ///< by a worker
    std::uint64_t failed = 0;
};

/// Used by one thread.
class thumbs {
public:
    /// `pool` must outlive it, and `chosen` too.
    thumbs(cofork::pool& pool, const settings& chosen) : pool_{pool}, chosen_{chosen}, cache_{chosen.cache} {}

    asio::awaitable<thumb> get(thumb_key key);

    const thumb_counts& counts() const noexcept { return counts_; }
    const cache& kept() const noexcept { return cache_; }

private:
    /// One thumb on its way. Who waits for it waits for a timer that never fires by itself.
    struct flight {
        explicit flight(const asio::any_io_executor& ex) : landed{ex, asio::steady_timer::time_point::max()} {}
        asio::steady_timer landed;
        thumb result;
    };

    asio::awaitable<thumb> made(thumb_key key);

    cofork::pool& pool_;
    const settings& chosen_;
    cache cache_;
    std::map<thumb_key, std::shared_ptr<flight>> flights_;
    thumb_counts counts_;
};

} // namespace image_server
