#pragma once
// A large value that is made while its bytes come, so that they are copied once.

#include <cofork/codec.hpp>
#include <cofork/detail/job.hpp>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ranges>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cofork::detail {

/// Nothing of the program's own runs while its bytes come, from memory that somebody may write to: a container of the program's could
/// look at them twice, or throw where there is no item yet that could fail.
template <typename T>
concept grows_by_blocks = travels_whole<T> && std::is_copy_assignable_v<std::ranges::range_value_t<T>>
    && (std::same_as<T, std::vector<std::ranges::range_value_t<T>>> || std::same_as<T, std::basic_string<std::ranges::range_value_t<T>>>);

template <grows_by_blocks T>
class arriving final : public arriving_block {
public:
    void expect(std::size_t size) override { value_.reserve(std::min(size, most_expected) / sizeof(element)); }

    void add(byte_view more) override
    {
        while (!more.empty()) {
            const bool as_it_lies = held_ == 0 && reinterpret_cast<std::uintptr_t>(more.data()) % alignof(element) == 0;
            const std::size_t whole = as_it_lies ? more.size() / sizeof(element) * sizeof(element) : 0;
            if (whole > 0)
                append(more.data(), whole);
            more = more.subspan(whole > 0 ? whole : hold(more));
        }
    }

    /// Throws decode_error when there are not so many elements.
    T take(std::uint64_t count)
    {
        if (held_ > 0 || std::ranges::size(value_) != count)
            throw_decode_error("a length that is not that of the bytes");
        return std::move(value_);
    }

private:
    using element = std::ranges::range_value_t<T>;

    void append(const std::byte* from, std::size_t bytes)
    {
        const auto* const first = reinterpret_cast<const element*>(from);
        value_.insert(value_.end(), first, first + bytes / sizeof(element));
    }

    /// Until there are whole elements. Returns how many bytes it took.
    std::size_t hold(byte_view more)
    {
        const std::size_t taken = std::min(more.size(), sizeof buffer_ - held_);
        std::memcpy(buffer_ + held_, more.data(), taken);
        held_ += taken;
        const std::size_t whole = held_ / sizeof(element) * sizeof(element);
        append(buffer_, whole);
        held_ -= whole;
        std::memmove(buffer_, buffer_ + whole, held_);
        return taken;
    }

    static constexpr std::size_t most_expected = std::size_t{1} << 30; // what is announced may be nonsense

    T value_{};
    std::size_t held_ = 0; // bytes in the buffer, of elements of which not all has come, or that lie where they may not
    alignas(element) std::byte buffer_[std::max<std::size_t>(1, 512 / sizeof(element)) * sizeof(element)];
};

template <typename T>
constexpr block_maker maker_of() noexcept
{
    if constexpr (grows_by_blocks<T>)
        return []() -> std::unique_ptr<arriving_block> { return std::make_unique<arriving<T>>(); };
    else
        return nullptr;
}

/// All that has travelled is a T. Throws decode_error.
template <typename T>
T value_of(const travelled& from)
{
    decoder in{from.bytes};
    if (from.block) {
        if constexpr (grows_by_blocks<T>) {
            const auto count = in.value<std::uint64_t>();
            in.finish();
            if (auto* const made = dynamic_cast<arriving<T>*>(from.block))
                return made->take(count);
        }
        throw_decode_error("the value of another call"); // begun before it was the turn of this one's item
    }
    T value = in.value<T>();
    in.finish();
    return value;
}

} // namespace cofork::detail
