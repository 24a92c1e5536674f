#pragma once
// What an item of each function has cost in a place: its next call need not find out from batches of 1, 4, 16 items.

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace cofork::detail {

/// Of the functions that were called last; enough for what a program calls over and over. A wrong guess costs little: items
/// that wait behind a long one are taken back.
class known_costs {
public:
    /// Nanoseconds; empty when nothing is known.
    std::optional<double> of(entry code) const noexcept
    {
        const auto found = std::ranges::find(known_, code, &known::code);
        return code && found != known_.end() ? std::optional{found->ns} : std::nullopt;
    }

    void note(entry code, double ns) noexcept
    {
        if (!code)
            return;
        auto found = std::ranges::find(known_, code, &known::code);
        if (found == known_.end())
            found = known_.begin() + static_cast<std::ptrdiff_t>(next_++ % known_.size());
        *found = {code, ns};
    }

private:
    struct known {
        entry code = nullptr;
        double ns = 0;
    };

    std::array<known, 16> known_{};
    std::size_t next_ = 0;
};

} // namespace cofork::detail
