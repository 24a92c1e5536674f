#pragma once
// The fuzzer's bytes as decisions. When they have run out every answer is the smallest: a short input means something.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace fuzz {

class input {
public:
    input(const std::uint8_t* data, std::size_t size) noexcept : left_{data, size} {}

    bool empty() const noexcept { return left_.empty(); }
    std::size_t size() const noexcept { return left_.size(); }

    template <typename T>
    T number() noexcept
    {
        static_assert(std::is_integral_v<T>);
        T value{};
        const auto from = bytes(sizeof value);
        std::memcpy(&value, from.data(), from.size());
        return value;
    }
    std::uint8_t byte() noexcept { return number<std::uint8_t>(); }
    bool yes() noexcept { return (byte() & 1) != 0; }
    /// 0 to n - 1; of one byte. Precondition: n > 0.
    unsigned below(unsigned n) noexcept { return byte() % n; }

    /// At most so many.
    std::span<const std::uint8_t> bytes(std::size_t most) noexcept
    {
        const auto taken = left_.first(std::min(most, left_.size()));
        left_ = left_.subspan(taken.size());
        return taken;
    }
    std::span<const std::uint8_t> rest() noexcept { return bytes(left_.size()); }

private:
    std::span<const std::uint8_t> left_;
};

} // namespace fuzz
