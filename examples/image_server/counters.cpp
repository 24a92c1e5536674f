#include "counters.hpp"

#include <algorithm>
#include <sstream>

namespace image_server {

namespace {

void describe(std::ostream& out, const char* name, const char* type, const char* help)
{
    out << "# HELP image_server_" << name << ' ' << help << "\n# TYPE image_server_" << name << ' ' << type << '\n';
}

template <typename Number>
void one(std::ostream& out, const char* name, const char* type, const char* help, Number value)
{
    describe(out, name, type, help);
    out << "image_server_" << name << ' ' << value << '\n';
}

double seconds(std::chrono::nanoseconds time)
{
    return std::chrono::duration<double>{time}.count();
}

} // namespace

void counters::answered(int status, std::chrono::nanoseconds took) noexcept
{
    ++by_status_[status];
    ++requests_;
    sum_ += took;
    const auto end = std::ranges::lower_bound(ends, seconds(took));
    if (end != ends.end())
        ++by_latency_[static_cast<std::size_t>(end - ends.begin())];
}

std::string counters::text(const thumbs& of, std::size_t connections) const
{
    std::ostringstream out;
    describe(out, "requests_total", "counter", "Requests that were answered, by status.");
    for (const auto& [status, count] : by_status_)
        out << "image_server_requests_total{status=\"" << status << "\"} " << count << '\n';
    describe(out, "request_seconds", "histogram", "From the last byte of a request to the answer, without sending it.");
    std::uint64_t up_to = 0;
    for (std::size_t i = 0; i < ends.size(); ++i)
        out << "image_server_request_seconds_bucket{le=\"" << ends[i] << "\"} " << (up_to += by_latency_[i]) << '\n';
    out << "image_server_request_seconds_bucket{le=\"+Inf\"} " << requests_ << "\nimage_server_request_seconds_sum "
        << seconds(sum_) << "\nimage_server_request_seconds_count " << requests_ << '\n';
    const thumb_counts& counts = of.counts();
    describe(out, "thumbs_total", "counter", "Thumbs, by where they came from.");
    out << "image_server_thumbs_total{from=\"cache\"} " << counts.hits << "\nimage_server_thumbs_total{from=\"other\"} "
        << counts.shared << "\nimage_server_thumbs_total{from=\"worker\"} " << counts.made << '\n';
    one(out, "thumbs_failed_total", "counter", "Thumbs that could not be made.", counts.failed);
    one(out, "cache_thumbs", "gauge", "Thumbs in the cache.", of.kept().size());
    one(out, "cache_bytes", "gauge", "Bytes of them.", of.kept().used());
    one(out, "connections", "gauge", "Connections that are open.", connections);
    return out.str();
}

} // namespace image_server
