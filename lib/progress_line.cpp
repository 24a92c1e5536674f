#include "progress_line.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace cofork::detail {
namespace {

using namespace std::chrono_literals;
using seconds_f = std::chrono::duration<double>;

constexpr auto rate_window = 5s;
constexpr std::size_t rate_completions = 10;
constexpr auto sample_distance = 250ms;

constexpr std::size_t widest_bar = 40;
constexpr std::size_t narrowest_bar = 5; // below, the percentage says more

std::string fixed(double value, int digits)
{
    char text[32];
    const auto [end, error] = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed, digits);
    return {text, error == std::errc{} ? end : text};
}

std::string rate_text(double per_second)
{
    if (per_second >= 1e6)
        return fixed(std::min(per_second, 1e12) / 1e6, 1) + "M/s";
    if (per_second >= 1e3)
        return fixed(per_second / 1e3, 1) + "k/s";
    if (per_second >= 1)
        return fixed(per_second, per_second < 9.95 ? 1 : 0) + "/s";
    if (per_second * 60 >= 1)
        return fixed(per_second * 60, 0) + "/min";
    return fixed(per_second * 3600, 0) + "/h";
}

std::string two_digits(long long value)
{
    std::string text;
    if (value < 10)
        text += '0';
    return text += std::to_string(value);
}

std::string clock_text(double seconds)
{
    if (!(seconds < 100 * 3600.0))
        return ">99 h";
    const auto s = static_cast<long long>(std::ceil(std::max(seconds, 0.0)));
    if (s < 3600)
        return std::to_string(s / 60) + ':' + two_digits(s % 60);
    return std::to_string(s / 3600) + ':' + two_digits(s / 60 % 60) + ':' + two_digits(s % 60);
}

/// Of what is over. clock_text() is for what is to come, and rounds up.
std::string took_text(double seconds)
{
    return seconds < 9.95 ? fixed(seconds, 1) + " s" : clock_text(std::round(seconds));
}

double fraction_of(const progress_state& state)
{
    // options::total is the caller's word and may be too small.
    return std::min(1.0, static_cast<double>(state.done) / static_cast<double>(state.total));
}

std::string head_text(std::string_view label, const progress_state& state)
{
    std::string text{label};
    if (!text.empty())
        text += "  ";
    text += std::to_string(state.done);
    return text += state.total != 0 ? '/' + std::to_string(state.total) : std::string{" done"};
}

std::string tail_text(const progress_state& state, std::optional<double> per_second)
{
    std::string text;
    if (state.total != 0)
        // Rounded down: 100% means all of them.
        text += ' ' + std::to_string(static_cast<int>(fraction_of(state) * 100)) + '%';
    if (state.failed != 0)
        text += ' ' + std::to_string(state.failed) + " failed";
    if (state.retried != 0)
        text += ' ' + std::to_string(state.retried) + " retried";
    if (state.finished) {
        const double elapsed = seconds_f{state.elapsed}.count();
        if (elapsed > 0 && state.done != 0)
            text += ' ' + rate_text(static_cast<double>(state.done) / elapsed);
        return text += " in " + took_text(elapsed);
    }
    if (per_second && *per_second > 0) {
        text += ' ' + rate_text(*per_second);
        if (state.done < state.total)
            text += " ETA " + clock_text(static_cast<double>(state.total - state.done) / *per_second);
    }
    return text += " busy " + std::to_string(state.busy);
}

std::string bar_text(const progress_state& state, std::size_t width)
{
    const auto full = static_cast<std::size_t>(fraction_of(state) * static_cast<double>(width));
    return " [" + std::string(full, '#') + std::string(width - full, '-') + ']';
}

/// Columns of the character that begins with `lead`; nothing for the bytes that continue it.
std::size_t columns_of(char lead)
{
    const auto byte = static_cast<unsigned char>(lead);
    return byte < 0x80 ? 1 : byte < 0xc0 ? 0 : 2;
}

std::size_t columns_of(std::string_view text)
{
    std::size_t columns = 0;
    for (const char c : text)
        columns += columns_of(c);
    return columns;
}

std::string cut(std::string text, std::size_t columns)
{
    std::size_t end = 0;
    for (std::size_t used = 0; end < text.size(); ++end) {
        used += columns_of(text[end]);
        if (used > columns)
            break;
    }
    text.resize(end);
    return text;
}

} // namespace

void progress_rate::note(const progress_state& state)
{
    const auto since = [&](const sample& then) { return state.elapsed - then.elapsed; };
    if (samples_.empty())
        samples_.push_back({state.elapsed, state.done});
    // Both conditions bound the samples: those of the window by their distance, older ones by a completion each.
    while (samples_.size() > 1 && since(samples_[1]) >= rate_window
           && state.done - samples_[1].done >= rate_completions)
        samples_.pop_front();
    const sample& first = samples_.front();
    if (state.done > first.done && since(first) > 0ns)
        per_second_ = static_cast<double>(state.done - first.done) / seconds_f{since(first)}.count();
    if (state.done > samples_.back().done && since(samples_.back()) >= sample_distance)
        samples_.push_back({state.elapsed, state.done});
}

std::string progress_line(
    std::string_view label, const progress_state& state, std::optional<double> per_second, std::size_t columns)
{
    const std::size_t room = columns - std::min<std::size_t>(columns, 1);
    std::string line = head_text(label, state);
    const std::string tail = tail_text(state, per_second);
    const std::size_t used = columns_of(line) + columns_of(tail) + 3; // " [" and "]"
    if (state.total != 0 && room >= used + narrowest_bar)
        line += bar_text(state, std::min(room - used, widest_bar));
    return cut(line + tail, room);
}

std::string progress_log_line(std::string_view label, const progress_state& state, std::optional<double> per_second)
{
    return head_text(label, state) + tail_text(state, per_second);
}

} // namespace cofork::detail
