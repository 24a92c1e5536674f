#pragma once
// What is answered to which request.

#include "counters.hpp"
#include "gallery.hpp"
#include "http.hpp"
#include "thumbs.hpp"
#include "witness.hpp"

#include <cofork/pool.hpp>

#include <asio/awaitable.hpp>

#include <functional>

namespace image_server {

/// Used by one thread. All that it is made with must outlive it.
class service {
public:
    service(cofork::pool& pool, const gallery& photos, const witness& seen, const settings& chosen)
        : pool_{pool}, photos_{photos}, seen_{seen}, thumbs_{pool, chosen}
    {
    }

    /// `asked` must stay until it is answered.
    asio::awaitable<response> answer(const request& asked);

    std::function<std::size_t()> connections; ///< how many there are: set by who knows

private:
    asio::awaitable<response> routed(const request& asked);
    asio::awaitable<response> thumb_for(const request& asked);
    response metrics() const;
    response trace() const;

    cofork::pool& pool_;
    const gallery& photos_;
    const witness& seen_;
    thumbs thumbs_;
    counters counters_;
};

} // namespace image_server
