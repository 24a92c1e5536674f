#include "witness.hpp"

#include <cofork/policy.hpp>
#include <cofork/stats.hpp>

#include <nlohmann/json.hpp>

#include <chrono>
#include <map>
#include <string_view>
#include <utility>

namespace image_server {

namespace {

using nlohmann::json;

double milliseconds(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double, std::milli>{time}.count();
}

json protections(cofork::protection on)
{
    using cofork::protection;
    json names = json::array();
    const auto add = [&](protection part, const char* name) {
        if (has(on, part))
            names.push_back(name);
    };
    add(protection::amounts, "amounts");
    add(protection::no_privileges, "no privileges");
    add(protection::files, "files");
    add(protection::signals, "signals");
    add(protection::system_calls, "system calls");
    return names;
}

json as_json(const cofork::worker_state& worker, std::uint64_t deaths)
{
    const bool busy = worker.now == cofork::worker_state::doing::busy;
    return {
        {"worker", worker.worker}, {"pid", worker.pid}, {"state", to_string(worker.now)},
        {"item", busy ? std::string_view{worker.name} : ""}, {"attempt", worker.attempt},
        {"running_ms", milliseconds(worker.running)}, {"age_ms", milliseconds(worker.age)}, {"done", worker.done},
        {"killed", deaths},
    };
}

// Names of files may be no UTF-8, of which JSON is made.
std::string text_of(const json& document)
{
    return document.dump(-1, ' ', false, json::error_handler_t::replace);
}

} // namespace

void witness::operator()(const cofork::event& e)
{
    if (e.kind == cofork::event_kind::crash)
        ++deaths_[e.worker];
    trace_(e);
}

std::string witness::state(const cofork::pool& pool, std::uint64_t requests) const
{
    std::map<unsigned, json> workers; // by their place
    for (const auto& [place, deaths] : deaths_) // one that has died is not replaced before there is work for it
        workers[place] = {{"worker", place}, {"pid", 0}, {"state", "gone"}, {"item", ""}, {"attempt", 0}, {"running_ms", 0},
                          {"age_ms", 0}, {"done", 0}, {"killed", deaths}};
    for (const cofork::worker_state& each : pool.worker_states()) {
        const auto deaths = deaths_.find(each.worker);
        workers[each.worker] = as_json(each, deaths == deaths_.end() ? 0 : deaths->second);
    }
    json rows = json::array();
    for (auto& [place, row] : workers)
        rows.push_back(std::move(row));
    std::uint64_t killed = 0;
    for (const auto& [place, deaths] : deaths_)
        killed += deaths;
    const cofork::pool_stats stats = pool.stats();
    return text_of({
        {"workers", std::move(rows)}, {"requests", requests}, {"queued", stats.queued}, {"done", stats.done},
        {"failed", stats.failed.sum()}, {"retried", stats.retried}, {"killed", killed},
        {"sandbox", protections(pool.enforced())},
    });
}

std::string witness::names(const gallery& photos)
{
    json all = json::array();
    for (const auto& [name, photo] : photos.all())
        all.push_back({{"name", name}, {"bytes", photo.file->size()}});
    return text_of(all);
}

} // namespace image_server
