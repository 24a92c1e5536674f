#pragma once
// What happens in the pool, for people who look: the page's table of workers, and the trace.

#include "gallery.hpp"

#include <cofork/event.hpp>
#include <cofork/pool.hpp>
#include <cofork/trace.hpp>

#include <cstdint>
#include <iosfwd>
#include <map>
#include <string>

namespace image_server {

/// Listens to a pool, as pool_options::on_event. Used by one thread.
class witness {
public:
    void operator()(const cofork::event& e);

    /// JSON: the workers of `pool`, each with what it does now and how many died in its place, and sums.
    std::string state(const cofork::pool& pool, std::uint64_t requests) const;
    void write_trace(std::ostream& out) const { trace_.write(out); }

    /// JSON: the names of all.
    static std::string names(const gallery& photos);

private:
    /// To write it takes some milliseconds, in which the loop serves nobody else.
    static constexpr std::size_t kept_events = 4'000;

    cofork::trace trace_{kept_events};
    std::map<unsigned, std::uint64_t> deaths_; // of workers, by their place
};

} // namespace image_server
