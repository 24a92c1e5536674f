#pragma once
// What may travel to another process, and how a value goes that nobody needs here afterwards.

#include <cofork/codec.hpp>

#include <concepts>
#include <memory>
#include <ranges>
#include <type_traits>
#include <utility>

namespace cofork::detail {

/// Writes a value that nobody needs afterwards: a large one moves to where it is kept until it has been sent. What throws leaves
/// it as it was.
template <typename T>
void encode_last(encoder& to, T& value)
{
    if constexpr (travels_whole<T> && std::default_initializable<T> && std::is_nothrow_move_assignable_v<T>) {
        if (block_of(value).size() >= least_left_block) {
            const auto kept = std::make_shared<T>();
            to.value(static_cast<std::uint64_t>(std::ranges::size(value)));
            if (left_block* const left = to.leave(block_of(value).size())) {
                *kept = std::move(value);
                left->bytes = block_of(*kept);
                left->keeper = kept;
            }
            else
                to.bytes(block_of(value).data(), block_of(value).size());
            return;
        }
    }
    to.value(std::as_const(value));
}

template <typename T>
consteval void require_codable_result()
{
    static_assert(
        !address_like<T>,
        "cofork: a result travels to another process: return the value itself, not a pointer, reference or view");
    if constexpr (!address_like<T>)
        static_assert(
            codable<T>,
            "cofork: this result type cannot travel to another process: give it a serialize member "
            "(template <class A> void serialize(A& a) { a(x, y); }) or specialise cofork::codec<T>");
}

template <typename T>
consteval void require_codable_item()
{
    static_assert(
        !address_like<T>,
        "cofork: these items travel to another process: pass the values themselves, not pointers, references or views");
    if constexpr (!address_like<T>)
        static_assert(
            codable<T>,
            "cofork: this item type cannot travel to another process: give it a serialize member, specialise "
            "cofork::codec<T>, or pass a random-access range without a pool: then items are inherited");
}

} // namespace cofork::detail
