#pragma once
// What a progress bar says: the rate and the text of one line. Pure: the time is that of the states.

#include <cofork/progress.hpp>

#include <chrono>
#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>

namespace cofork::detail {

/// Completions per second over the last seconds, and over at least the last few completions: items that take minutes
/// have a steady rate too.
class progress_rate {
public:
    /// A state of the same call, in the order of time.
    void note(const progress_state& state);

    /// Empty until something completed while we looked.
    [[nodiscard]] std::optional<double> per_second() const noexcept { return per_second_; }

private:
    struct sample {
        std::chrono::nanoseconds elapsed;
        std::size_t done;
    };

    std::deque<sample> samples_; // bounded: see note()
    std::optional<double> per_second_;
};

/// One line on a terminal of `columns` columns: at most columns - 1 of them, because a terminal may wrap a line that
/// fills it. `label` is printable(); a character of it outside of ASCII is taken to be two columns wide.
std::string progress_line(
    std::string_view label, const progress_state& state, std::optional<double> per_second, std::size_t columns);

/// One line of a log: the same without the bar, however long.
std::string progress_log_line(
    std::string_view label, const progress_state& state, std::optional<double> per_second);

} // namespace cofork::detail
