#include <cofork/trace.hpp>

#include "printable.hpp"

#include <algorithm>
#include <deque>
#include <mutex>
#include <ostream>
#include <set>
#include <string>

#include <unistd.h>

namespace cofork {

namespace {

using clock = std::chrono::steady_clock;

/// What an event is without what it pointed to.
struct entry {
    event what;
    std::string name;
    std::string why; // empty: a value
};

/// A string of JSON (RFC 8259). Bytes that are not printable ASCII text are escaped already (printable.hpp).
std::string quoted(const std::string& text)
{
    std::string out = "\"";
    for (const char c : detail::printable(text)) {
        if (c == '"' || c == '\\')
            out += '\\';
        out += c;
    }
    return out + '"';
}

/// Microseconds with three decimals, as the format wants its times.
std::string microseconds(std::chrono::nanoseconds t)
{
    const auto ns = std::max<std::int64_t>(t.count(), 0);
    std::string part = std::to_string(ns % 1000);
    return std::to_string(ns / 1000) + '.' + std::string(3 - part.size(), '0') + part;
}

std::string head(const entry& e, const std::string& name, const char* phase, std::chrono::nanoseconds at)
{
    return "{\"name\":" + quoted(name) + ",\"ph\":\"" + phase + "\",\"ts\":" + microseconds(at) + ",\"pid\":" +
           std::to_string(::getpid()) + ",\"tid\":" + std::to_string(e.what.worker);
}

/// An item that has run: a slice.
std::string slice(const entry& e, clock::time_point zero)
{
    const event& w = e.what;
    const std::string name = (e.name.empty() ? "item" : e.name) + " " + std::to_string(w.index);
    std::string line = head(e, name, "X", w.at - w.ran - zero) + ",\"dur\":" + microseconds(w.ran) + ",\"cat\":\"" +
                       (w.kind == event_kind::retry ? "retried" : e.why.empty() ? "value" : "failed") + "\"";
    if (!e.why.empty())
        line += ",\"cname\":\"terrible\"";
    line += ",\"args\":{\"call\":" + std::to_string(w.call) + ",\"item\":" + std::to_string(w.index) + ",\"attempt\":" +
            std::to_string(w.attempt) + ",\"worker pid\":" + std::to_string(w.pid) + ",\"cpu_us\":" + microseconds(w.cpu) +
            ",\"peak_memory\":" + std::to_string(w.peak_memory);
    if (!e.why.empty())
        line += ",\"failure\":" + quoted(e.why);
    return line + "}}";
}

/// What happened to a worker: a mark in its row.
std::string mark(const entry& e, clock::time_point zero)
{
    std::string line = head(e, to_string(e.what.kind), "i", e.what.at - zero) + ",\"s\":\"t\",\"args\":{\"worker pid\":" +
                       std::to_string(e.what.pid);
    if (!e.why.empty())
        line += ",\"failure\":" + quoted(e.why);
    return line + "}}";
}

} // namespace

struct trace::record {
    mutable std::mutex mutex;
    std::size_t most;
    clock::time_point zero = clock::now();
    std::deque<entry> entries;
};

trace::trace(std::size_t most) : record_{std::make_unique<record>()}
{
    record_->most = std::max<std::size_t>(most, 1);
}

trace::~trace() = default;

void trace::operator()(const event& e)
{
    if (e.kind == event_kind::start)
        return; // its slice comes with its end
    entry kept{e, e.name, e.why ? describe(*e.why) : std::string{}};
    kept.what.name = "";
    kept.what.why = nullptr;
    const std::lock_guard lock{record_->mutex};
    if (record_->entries.size() == record_->most)
        record_->entries.pop_front();
    record_->entries.push_back(std::move(kept));
}

void trace::write(std::ostream& out) const
{
    const std::lock_guard lock{record_->mutex};
    std::set<unsigned> workers;
    out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
    for (const entry& e : record_->entries) {
        const bool ran = e.what.kind == event_kind::finish || e.what.kind == event_kind::retry;
        out << (ran ? slice(e, record_->zero) : mark(e, record_->zero)) << ",\n";
        workers.insert(e.what.worker);
    }
    const std::string pid = std::to_string(::getpid());
    for (const unsigned worker : workers)
        out << "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":" << pid << ",\"tid\":" << worker
            << ",\"args\":{\"name\":\"worker " << worker << "\"}},\n";
    out << "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":" << pid << ",\"args\":{\"name\":\"cofork\"}}\n]}\n";
}

} // namespace cofork
