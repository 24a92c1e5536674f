#pragma once
// Whether others want this processor: then looking again keeps it from them, and them from us.

#include <cstdint>

namespace cofork::detail {

class crowd {
public:
    /// A yield took so long.
    void yielded(std::uint64_t ns) noexcept
    {
        if (ns > alone_ns)
            rests_ = most_rests;
    }

    /// Says so for a while after it was last seen.
    bool is_there() noexcept
    {
        if (rests_ == 0)
            return false;
        --rests_;
        return true;
    }

private:
    static constexpr std::uint64_t alone_ns = 100'000; // an interrupt is shorter, a slice of another process longer
    static constexpr unsigned most_rests = 100;

    unsigned rests_ = 0;
};

} // namespace cofork::detail
