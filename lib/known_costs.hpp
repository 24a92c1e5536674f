#pragma once
// What an item of each function has cost in a place: its next call need not find out from batches of 1, 4, 16 items.

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace cofork::detail {

/// Of the functions that were called last; enough for what a program calls over and over. A wrong guess costs little: the
/// first answer ends it, and what was given out is taken back.
class known_costs {
public:
    /// Nanoseconds; empty when nothing is known. `function` is any number that tells them apart, 0 none.
    std::optional<double> of(std::size_t function) const noexcept
    {
        const auto found = std::ranges::find(known_, function, &known::function);
        return function != 0 && found != known_.end() ? std::optional{found->ns} : std::nullopt;
    }

    void note(std::size_t function, double ns) noexcept
    {
        if (function == 0)
            return;
        auto found = std::ranges::find(known_, function, &known::function);
        if (found == known_.end())
            --found; // the one that was noted longest ago
        *found = {function, ns};
        std::rotate(known_.begin(), found, found + 1);
    }

private:
    struct known {
        std::size_t function = 0;
        double ns = 0;
    };

    std::array<known, 16> known_{}; // the latest first
};

} // namespace cofork::detail
