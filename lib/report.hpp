#pragma once
// What a worker says of an exception, as the parent reads it.

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <chrono>
#include <optional>
#include <string_view>

namespace cofork::detail {

/// Its texts are those of the payload.
struct report {
    std::chrono::nanoseconds elapsed;
    std::string_view type;
    std::string_view output; ///< the end of what the item has printed
    std::string_view what;
};

/// Nothing when the payload is malformed.
inline std::optional<report> read_report(byte_view payload) noexcept
{
    if (payload.size() < report_lead)
        return {};
    const auto type = load<std::uint32_t>(payload.data() + sizeof(std::uint64_t));
    const auto output = load<std::uint32_t>(payload.data() + sizeof(std::uint64_t) + sizeof type);
    if (payload.size() - report_lead < std::uint64_t{type} + output)
        return {};
    const auto elapsed = load<std::uint64_t>(payload.data()) & (~std::uint64_t{0} >> 1);
    const std::string_view text{
        reinterpret_cast<const char*>(payload.data()) + report_lead, payload.size() - report_lead};
    return report{
        std::chrono::nanoseconds{elapsed}, text.substr(0, type), text.substr(type, output), text.substr(type + output)};
}

} // namespace cofork::detail
