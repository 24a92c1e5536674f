// Bytes from a hostile worker as values of every sort of type: refused, or a value that travels on unchanged; and no more
// memory than such bytes are worth.

#include "codec_types.hpp"
#include "demand.hpp"
#include "input.hpp"
#include "memory_watch.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>

namespace {

using namespace fuzz;
using bytes = std::vector<std::byte>;

/// Bytes at an address of a chosen alignment, with nothing behind them.
class placed {
public:
    placed(std::span<const std::byte> from, std::size_t offset)
        : memory_{static_cast<std::byte*>(::operator new(offset + from.size(), std::align_val_t{16}))},
          view_{memory_ + offset, from.size()}
    {
        std::ranges::copy(from, memory_ + offset);
    }
    ~placed() { ::operator delete(memory_, std::align_val_t{16}); }
    placed(const placed&) = delete;
    placed& operator=(const placed&) = delete;

    std::span<const std::byte> view() const noexcept { return view_; }

private:
    std::byte* memory_;
    std::span<const std::byte> view_;
};

template <typename T>
bytes encoded(const T& value)
{
    bytes out;
    cofork::encoder to{out};
    to.value(value);
    return out;
}

template <typename T>
T decoded(std::span<const std::byte> from)
{
    cofork::decoder in{from};
    T value = in.value<T>();
    in.finish();
    return value;
}

/// Memory that a value of so many bytes may take: the largest element here is some 200 times as large as the bytes that
/// stand for it, a growing vector doubles, and elements without bytes are believed up to a few thousand.
std::size_t memory_worth(std::size_t size)
{
    return 512 * size + (std::size_t{1} << 20);
}

/// Unordered containers have no order that survives, and a NaN is not itself.
template <typename T>
inline constexpr bool has_one_encoding = !requires { typename T::hasher; };

/// Every beginning of a value is refused, or is a value that ends earlier.
template <typename T>
void refuse_beginnings(std::span<const std::byte> whole)
{
    for (std::size_t n = 0; n < whole.size(); ++n) {
        try {
            decoded<T>(whole.first(n));
        }
        catch (const cofork::decode_error&) {
            continue;
        }
        demand(false, "a value that ends in its middle is refused");
    }
}

template <typename T>
void travel(std::span<const std::byte> from)
try {
    std::optional<T> value;
    {
        const memory_watch memory;
        value.emplace(decoded<T>(from));
        demand(memory.total() <= memory_worth(from.size()), "a value takes the memory that its bytes are worth");
    }
    const bytes once = encoded(*value);
    demand(once.size() <= from.size(), "no value has more bytes than it was read from");
    const T again = decoded<T>(once);
    if constexpr (has_one_encoding<T>)
        demand(encoded(again) == once, "a value is the same after another journey");
    else
        demand(again == *value, "a value is the same after another journey");
    if (once.size() <= 64)
        refuse_beginnings<T>(once);
}
catch (const cofork::decode_error&) {
}

/// Without a word of why: then only the memory is looked at.
template <typename T>
void count_memory(std::span<const std::byte> from)
{
    const memory_watch memory;
    try {
        cofork::decoder{from}.value<T>();
    }
    catch (const cofork::decode_error&) {
    }
    demand(memory.total() <= memory_worth(from.size()), "refused bytes take the memory that they are worth");
}

template <typename... T>
void travel_as(type_list<T...>, std::size_t type, std::span<const std::byte> from)
{
    using decode = void (*)(std::span<const std::byte>);
    constexpr decode values[] = {&travel<T>...};
    constexpr decode costs[] = {&count_memory<T>...};
    costs[type % sizeof...(T)](from);
    values[type % sizeof...(T)](from);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input from{data, size};
    const std::uint8_t type = from.byte();
    const unsigned offset = from.below(16);
    const placed at{std::as_bytes(from.rest()), offset};
    travel_as(travelling{}, type, at.view());
    return 0;
}
