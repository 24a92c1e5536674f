#include <cofork/failure.hpp>

#include "printable.hpp"

#include <cstdint>
#include <utility>

namespace cofork {
namespace {

/// `amount` of 1/10 units, without a needless ".0".
std::string tenths(std::int64_t amount, const char* unit)
{
    std::string text = std::to_string(amount / 10);
    if (amount < 100 && amount % 10 != 0)
        text += '.' + std::to_string(amount % 10);
    return text + unit;
}

std::string duration_text(std::chrono::nanoseconds duration)
{
    const std::int64_t ns = duration.count();
    if (ns < 1'000)
        return std::to_string(ns) + " ns";
    if (ns < 1'000'000)
        return tenths(ns / 100, " us");
    if (ns < 1'000'000'000)
        return tenths(ns / 100'000, " ms");
    const std::int64_t s = ns / 1'000'000'000;
    if (s < 60)
        return tenths(ns / 100'000'000, " s");
    if (s < 3600)
        return std::to_string(s / 60) + " min " + std::to_string(s % 60) + " s";
    return std::to_string(s / 3600) + " h " + std::to_string(s % 3600 / 60) + " min";
}

/// How the worker ended, when it did so of its own. A timeout or a protocol error ends in our own SIGKILL, which
/// would tell nobody anything.
std::string ending_of(const failure& why)
{
    if (why.kind != failure_kind::crashed && why.kind != failure_kind::limit)
        return {};
    return detail::ending_text(why.signal, why.exit_code);
}

const char* usual_cause(failure_kind kind) noexcept
{
    switch (kind) {
    case failure_kind::exception: return "of unknown type";
    case failure_kind::crashed: return "the worker ended in the middle of the item";
    case failure_kind::timeout: return "it took longer than options::timeout; the worker was killed";
    case failure_kind::limit: return "a limit was reached";
    case failure_kind::protocol: return "the worker sent bytes that are not the protocol; it was killed";
    case failure_kind::cancelled: return "the call ended before the item did";
    case failure_kind::not_started: return "no worker could be had for it";
    }
    return "for no known reason";
}

std::string cause_of(const failure& why)
{
    std::string cause = detail::printable(why.type);
    const std::string what = detail::printable(why.what);
    const std::string ending = ending_of(why);
    // `what` may already begin with the ending, told in the same words.
    const bool told = !ending.empty() && what.starts_with(ending);
    for (const std::string& part : {told ? std::string{} : ending, what}) {
        if (part == cause)
            continue; // the text of some exceptions is their type
        if (!cause.empty() && !part.empty())
            cause += ": ";
        cause += part;
    }
    return cause.empty() ? usual_cause(why.kind) : cause;
}

} // namespace

const char* to_string(failure_kind kind) noexcept
{
    switch (kind) {
    case failure_kind::exception: return "exception";
    case failure_kind::crashed: return "crashed";
    case failure_kind::timeout: return "timeout";
    case failure_kind::limit: return "limit";
    case failure_kind::protocol: return "protocol";
    case failure_kind::cancelled: return "cancelled";
    case failure_kind::not_started: return "not_started";
    }
    return "unknown";
}

const char* to_string(limited what) noexcept
{
    switch (what) {
    case limited::none: return "none";
    case limited::result: return "result";
    case limited::memory: return "memory";
    case limited::cpu: return "cpu";
    case limited::file_size: return "file_size";
    case limited::system_call: return "system_call";
    }
    return "unknown";
}

std::string describe(const failure& why)
{
    std::string line = "item " + std::to_string(why.index) + ": " + to_string(why.kind);
    if (why.limit != limited::none)
        line += std::string{" ("} + to_string(why.limit) + ')';
    line += ": " + cause_of(why);
    if (why.pid != 0)
        line += ", worker " + std::to_string(why.pid);
    if (why.attempts > 1)
        line += ", attempt " + std::to_string(why.attempts);
    if (why.elapsed.count() > 0)
        line += ", after " + duration_text(why.elapsed);
    return line;
}

item_error::item_error(failure why) : std::runtime_error{describe(why)}, why_{std::move(why)} {}

} // namespace cofork
