#pragma once
// How a T becomes bytes and back: the customisation point, and what it covers by itself.

#include <cofork/detail/codec_kinds.hpp>
#include <cofork/encoder.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cofork {

/// How a T travels to another process. Covered: numbers, enumerations, structs that are trivially copyable, the standard
/// containers, optional, variant, pair, tuple, unique_ptr, shared_ptr to what is const, chrono, filesystem::path, and types
/// with a `serialize` member or function, or `save` and `load`, as cereal wants them. For anything else specialise it:
///
///     template <>
///     struct cofork::codec<image> {
///         static void encode(cofork::encoder& to, const image& i);
///         static image decode(cofork::decoder& from);   // throws decode_error; the bytes may be hostile
///     };
///
/// Both ends are the same program: host byte order, structs with their padding. What is shared comes out as a copy for each pointer.
template <typename T>
struct codec;

/// Whether codec<T> can be used.
template <typename T>
concept codable = requires(encoder& to, decoder& from, const T& value) {
    codec<T>::encode(to, value);
    { codec<T>::decode(from) } -> std::same_as<T>;
};

// Scalars.

template <detail::scalar T>
struct codec<T> {
    static void encode(encoder& to, const T& value) { to.bytes(&value, sizeof value); }
    static T decode(decoder& from)
    {
        T value;
        if constexpr (std::same_as<T, bool>) {
            unsigned char byte = 0;
            from.bytes(&byte, 1);
            if (byte > 1)
                detail::throw_decode_error("a bool that is neither true nor false");
            return byte == 1;
        }
        else {
            from.bytes(&value, sizeof value);
            return value;
        }
    }
};

// Structs that are trivially copyable, and those without content.

template <typename T>
    requires(std::is_class_v<T> && detail::block<T>)
struct codec<T> {
    static void encode(encoder& to, const T& value) { to.bytes(std::addressof(value), sizeof value); }
    static T decode(decoder& from)
    {
        std::array<std::byte, sizeof(T)> bytes;
        from.bytes(bytes.data(), bytes.size());
        return std::bit_cast<T>(bytes);
    }
};

template <typename T>
    requires(std::is_empty_v<T> && std::is_trivially_copyable_v<T> && std::default_initializable<T> && !detail::serializable<T>
             && !detail::address_like<T> && !detail::tuple_like<T> && !detail::is_std_array<T>)
struct codec<T> {
    static void encode(encoder&, const T&) noexcept {}
    static T decode(decoder&) noexcept { return T{}; }
};

// Types with functions of their own, as cereal wants them.

namespace detail {

/// How an archive treats one argument. cereal.hpp adds cereal's wrappers: names, base classes, sizes.
template <typename T>
struct archived {
    static void save(encoder& to, const T& value) { to.value(value); }
    static void load(decoder& from, T& value) { value = from.value<T>(); }
};

class output_archive {
public:
    explicit output_archive(encoder& to) noexcept : to_{to} {}
    template <typename... T>
    output_archive& operator()(const T&... values)
    {
        (archived<T>::save(to_, values), ...);
        return *this;
    }
    template <typename T>
    output_archive& operator&(const T& value)
    {
        return (*this)(value);
    }

private:
    encoder& to_;
};

class input_archive {
public:
    explicit input_archive(decoder& from) noexcept : from_{from} {}
    template <typename... T>
    input_archive& operator()(T&&... values)
    {
        (archived<std::remove_cvref_t<T>>::load(from_, values), ...);
        return *this;
    }
    template <typename T>
    input_archive& operator&(T&& value)
    {
        return (*this)(std::forward<T>(value));
    }

private:
    decoder& from_;
};

} // namespace detail

template <detail::serializable T>
struct codec<T> {
    static void encode(encoder& to, const T& value)
    {
        const auto level = to.deeper();
        detail::output_archive archive{to};
        if constexpr (detail::member_serialize<T>)
            const_cast<T&>(value).serialize(archive); // by cereal's rule it does not change what it saves
        else if constexpr (detail::free_serialize<T>)
            serialize(archive, const_cast<T&>(value));
        else if constexpr (detail::member_save_load<T>)
            value.save(archive);
        else if constexpr (detail::free_save_load<T>)
            save(archive, value);
        else if constexpr (detail::member_minimal<T>)
            to.value(value.save_minimal(std::as_const(archive)));
        else
            detail::for_a_friend<T>::serialize(archive, const_cast<T&>(value));
    }
    static T decode(decoder& from)
    {
        static_assert(std::default_initializable<T>, "cofork: a type with serialize or load needs a default constructor");
        const auto level = from.deeper();
        T value{};
        detail::input_archive archive{from};
        if constexpr (detail::member_serialize<T>)
            value.serialize(archive);
        else if constexpr (detail::free_serialize<T>)
            serialize(archive, value);
        else if constexpr (detail::member_save_load<T>)
            value.load(archive);
        else if constexpr (detail::free_save_load<T>)
            load(archive, value);
        else if constexpr (detail::member_minimal<T>) {
            using small = std::remove_cvref_t<decltype(std::as_const(value).save_minimal(std::as_const(archive)))>;
            value.load_minimal(std::as_const(archive), from.value<small>());
        }
        else
            detail::for_a_friend<T>::serialize(archive, value);
        return value;
    }
};

// Containers: the number of elements, then each; blocks at once.

template <detail::growing_container T>
    requires(!detail::serializable<T> && codable<std::ranges::range_value_t<T>>)
struct codec<T> {
    using element = std::ranges::range_value_t<T>;
    using of_the_library = codec; // and not of somebody who has a codec<std::string> of his own
    static constexpr bool at_once = std::ranges::contiguous_range<T> && detail::block<element>;

    static void encode(encoder& to, const T& value)
    {
        const auto level = to.deeper();
        to.value(static_cast<std::uint64_t>(std::ranges::distance(value)));
        if constexpr (at_once)
            to.bytes(std::ranges::data(value), std::ranges::size(value) * sizeof(element));
        else
            for (auto&& e : value)
                to.value(static_cast<const element&>(e));
    }

    static T decode(decoder& from)
    {
        const auto level = from.deeper();
        const auto n = from.value<std::uint64_t>();
        if constexpr (at_once) {
            from.require(n, sizeof(element));
            const auto bytes = from.view(static_cast<std::size_t>(n) * sizeof(element));
            const auto* const first = reinterpret_cast<const element*>(bytes.data());
            if (reinterpret_cast<std::uintptr_t>(first) % alignof(element) == 0)
                return T(first, first + n); // one pass, nothing filled with zeros first
            T value(static_cast<std::size_t>(n), element{});
            if (n > 0) // of nothing there is no address
                std::memcpy(std::ranges::data(value), bytes.data(), bytes.size());
            return value;
        }
        else {
            from.require(n, 0);
            T value;
            for (std::uint64_t i = 0; i < n; ++i)
                add(value, from);
            return value;
        }
    }

private:
    static void add(T& to, decoder& from)
    {
        if constexpr (requires { typename T::mapped_type; }) {
            auto key = from.value<typename T::key_type>();
            auto mapped = from.value<typename T::mapped_type>();
            to.emplace(std::move(key), std::move(mapped));
        }
        else if constexpr (requires(element e) { to.push_back(std::move(e)); })
            to.push_back(from.value<element>());
        else
            to.insert(from.value<element>());
    }
};

template <codable T, std::size_t N>
struct codec<std::array<T, N>> {
    static void encode(encoder& to, const std::array<T, N>& value)
    {
        for (const T& e : value)
            to.value(e);
    }
    static std::array<T, N> decode(decoder& from)
    {
        return [&]<std::size_t... Is>(std::index_sequence<Is...>) {
            return std::array<T, N>{(static_cast<void>(Is), from.value<T>())...};
        }(std::make_index_sequence<N>{});
    }
};

// Things made of others.

template <codable... T>
struct codec<std::tuple<T...>> {
    static void encode(encoder& to, const std::tuple<T...>& value)
    {
        std::apply([&](const T&... e) { (to.value(e), ...); }, value);
    }
    static std::tuple<T...> decode(decoder& from) { return std::tuple<T...>{from.value<T>()...}; }
};

template <typename A, codable B>
    requires codable<std::remove_const_t<A>>
struct codec<std::pair<A, B>> {
    using first = std::remove_const_t<A>; // of a map: const
    static void encode(encoder& to, const std::pair<A, B>& value)
    {
        to.value(static_cast<const first&>(value.first));
        to.value(value.second);
    }
    static std::pair<A, B> decode(decoder& from) { return std::pair<A, B>{from.value<first>(), from.value<B>()}; }
};

template <codable T>
struct codec<std::optional<T>> {
    static void encode(encoder& to, const std::optional<T>& value)
    {
        to.value(value.has_value());
        if (value)
            to.value(*value);
    }
    static std::optional<T> decode(decoder& from)
    {
        if (!from.value<bool>())
            return {};
        return from.value<T>();
    }
};

template <codable T>
struct codec<std::unique_ptr<T>> {
    static void encode(encoder& to, const std::unique_ptr<T>& value)
    {
        const auto level = to.deeper();
        to.value(value != nullptr);
        if (value)
            to.value(*value);
    }
    static std::unique_ptr<T> decode(decoder& from)
    {
        const auto level = from.deeper();
        if (!from.value<bool>())
            return {};
        return std::make_unique<T>(from.value<T>());
    }
};

namespace detail {

/// codec writes it as its length and one block.
template <typename T>
concept travels_whole = requires { typename codec<T>::of_the_library; } && codec<T>::at_once;

template <travels_whole T>
std::span<const std::byte> block_of(const T& value) noexcept
{
    return std::as_bytes(std::span{std::ranges::data(value), std::ranges::size(value)});
}

} // namespace detail

/// What is shared and never changes: as an item or an argument a large string or vector of blocks is sent from where it is, and kept until
/// the item has an outcome.
template <codable T>
struct codec<std::shared_ptr<const T>> {
    static void encode(encoder& to, const std::shared_ptr<const T>& value)
    {
        const auto level = to.deeper();
        to.value(value != nullptr);
        if (!value)
            return;
        if constexpr (detail::travels_whole<T>) {
            to.value(static_cast<std::uint64_t>(std::ranges::size(*value)));
            to.bytes(value, detail::block_of(*value));
        }
        else
            to.value(*value);
    }
    static std::shared_ptr<const T> decode(decoder& from)
    {
        const auto level = from.deeper();
        if (!from.value<bool>())
            return {};
        return std::make_shared<const T>(from.value<T>());
    }
};

template <>
struct codec<std::monostate> {
    static void encode(encoder&, const std::monostate&) noexcept {}
    static std::monostate decode(decoder&) noexcept { return {}; }
};

template <codable... T>
struct codec<std::variant<T...>> {
    using value_type = std::variant<T...>;
    static void encode(encoder& to, const value_type& value)
    {
        to.value(static_cast<std::uint32_t>(value.index()));
        std::visit([&](const auto& e) { to.value(e); }, value); // throws bad_variant_access when it holds nothing
    }
    static value_type decode(decoder& from)
    {
        const auto index = from.value<std::uint32_t>();
        std::optional<value_type> value;
        [&]<std::size_t... Is>(std::index_sequence<Is...>) {
            ((index == Is ? static_cast<void>(value.emplace(std::in_place_index<Is>, from.value<T>())) : void()), ...);
        }(std::index_sequence_for<T...>{});
        if (!value)
            detail::throw_decode_error("a variant's index is out of range");
        return std::move(*value);
    }
};

template <typename Rep, typename Period>
struct codec<std::chrono::duration<Rep, Period>> {
    using value_type = std::chrono::duration<Rep, Period>;
    static void encode(encoder& to, const value_type& value) { to.value(value.count()); }
    static value_type decode(decoder& from) { return value_type{from.value<Rep>()}; }
};

template <typename Clock, typename Duration>
struct codec<std::chrono::time_point<Clock, Duration>> {
    using value_type = std::chrono::time_point<Clock, Duration>;
    static void encode(encoder& to, const value_type& value) { to.value(value.time_since_epoch()); }
    static value_type decode(decoder& from) { return value_type{from.value<Duration>()}; }
};

template <detail::path_like T>
    requires(!detail::serializable<T>)
struct codec<T> {
    static void encode(encoder& to, const T& value) { to.value(value.native()); }
    static T decode(decoder& from) { return from.value<typename T::string_type>(); }
};

} // namespace cofork
