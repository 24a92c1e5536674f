#include <cofork/stats.hpp>

#include <cstdio>

namespace cofork {

namespace {

/// A label's value (Prometheus' text format: backslash, quote and end of line are escaped).
std::string escaped(std::string_view text)
{
    std::string out;
    for (const char c : text) {
        if (c == '\n')
            out += "\\n";
        else {
            if (c == '\\' || c == '"')
                out += '\\';
            out += c;
        }
    }
    return out;
}

std::string seconds(std::chrono::nanoseconds t)
{
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(t.count()) / 1e9);
    return text;
}

class exposition {
public:
    explicit exposition(std::string_view pool) : label_{"pool=\"" + escaped(pool) + "\""} {}

    void family(const char* name, const char* type, const char* help)
    {
        name_ = std::string{"cofork_"} + name;
        text_ += "# HELP " + name_ + ' ' + help + "\n# TYPE " + name_ + ' ' + type + '\n';
    }
    void sample(const std::string& value, const std::string& more = {}, const char* suffix = "")
    {
        text_ += name_ + suffix + '{' + label_ + (more.empty() ? "" : ',' + more) + "} " + value + '\n';
    }
    void one(const char* name, const char* type, const char* help, std::uint64_t value)
    {
        family(name, type, help);
        sample(std::to_string(value));
    }
    void summary(const char* name, const char* help, const durations& d)
    {
        family(name, "summary", help);
        sample(seconds(d.p50), "quantile=\"0.5\"");
        sample(seconds(d.p90), "quantile=\"0.9\"");
        sample(seconds(d.p99), "quantile=\"0.99\"");
        sample(seconds(d.max), "quantile=\"1\"");
        sample(seconds(d.sum), {}, "_sum");
        sample(std::to_string(d.count), {}, "_count");
    }

    std::string text() && { return std::move(text_); }

private:
    std::string label_;
    std::string name_;
    std::string text_;
};

constexpr failure_kind kinds[] = {
    failure_kind::exception, failure_kind::crashed, failure_kind::timeout, failure_kind::limit,
    failure_kind::protocol, failure_kind::cancelled, failure_kind::not_started,
};

} // namespace

std::string prometheus(const pool_stats& s, std::string_view pool)
{
    exposition out{pool};
    out.one("items_started_total", "counter", "Items begun, each attempt counted.", s.started);
    out.one("items_done_total", "counter", "Items that have an outcome.", s.done);
    out.family("items_failed_total", "counter", "Items without a value, by kind of failure.");
    for (const failure_kind kind : kinds)
        out.sample(std::to_string(s.failed[kind]), std::string{"kind=\""} + to_string(kind) + '"');
    out.one("items_retried_total", "counter", "Failed attempts that were followed by another.", s.retried);
    out.one("items_queued", "gauge", "Items that wait for a worker.", s.queued);
    out.one("workers", "gauge", "Worker processes alive.", s.workers);
    out.one("workers_busy", "gauge", "Worker processes that hold items.", s.busy);
    out.one("workers_spawned_total", "counter", "Worker processes started.", s.spawned);
    out.one("workers_respawned_total", "counter", "Worker processes started in the place of one that had ended.", s.respawned);
    out.one("workers_ended_total", "counter", "Worker processes that have ended.", s.ended);
    out.one("workers_killed_total", "counter", "Worker processes killed for a timeout, a cancelled call or a broken protocol.", s.killed);
    out.one("workers_crashed_total", "counter", "Worker processes ended by a signal or an exit that nobody had asked for.", s.crashed);
    out.one("calls", "gauge", "Calls being served.", s.calls);
    out.one("calls_waiting", "gauge", "Calls that wait to be served.", s.waiting);
    out.summary("run_seconds", "Time that items ran, each attempt counted.", s.run);
    out.summary("wait_seconds", "Time from a call to the start of its first item.", s.wait);
    out.one("sent_bytes_total", "counter", "Bytes sent to workers.", s.sent);
    out.one("received_bytes_total", "counter", "Bytes of workers' replies.", s.received);
    out.family("cpu_seconds_total", "counter", "Processor time of workers.");
    out.sample(seconds(s.cpu));
    out.one("peak_memory_bytes", "gauge", "The most that a worker has had resident.", s.peak_memory);
    return std::move(out).text();
}

} // namespace cofork
