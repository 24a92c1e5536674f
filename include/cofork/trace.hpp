#pragma once
// A record of what workers did, for the timeline of a browser.

#include <cofork/event.hpp>

#include <cstddef>
#include <iosfwd>
#include <memory>

namespace cofork {

/// Gathers events, and writes them in the Trace Event format, which ui.perfetto.dev and chrome://tracing show: a row for each
/// worker, a slice for each item.
///
///     cofork::trace trace;
///     cofork::pool pool{context, {.on_event = std::ref(trace)}};  // or options{.on_event = std::ref(trace)} for one call
///     ...
///     trace.write(file);
///
/// Any thread may use it; it must outlive what it listens to. An event takes some 100 bytes.
class trace {
public:
    /// Keeps the latest `most` events.
    explicit trace(std::size_t most = 100'000);
    ~trace();
    trace(const trace&) = delete;
    trace& operator=(const trace&) = delete;

    /// Throws std::bad_alloc.
    void operator()(const event& e);

    /// Writes a JSON document of what it holds. Times count from the making of this object.
    void write(std::ostream& out) const;

private:
    struct record;
    std::unique_ptr<record> record_;
};

} // namespace cofork
