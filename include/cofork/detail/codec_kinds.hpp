#pragma once
// Which kind of type a T is, as far as it matters for how it travels.

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <optional>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace cofork::detail {

template <template <typename...> class Of, typename T>
inline constexpr bool is_a = false;
template <template <typename...> class Of, typename... Args>
inline constexpr bool is_a<Of, Of<Args...>> = true;

template <typename T>
inline constexpr bool is_std_array = false;
template <typename T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

/// Means something in this process only.
template <typename T>
concept address_like = std::is_pointer_v<T> || std::is_member_pointer_v<T> || std::is_reference_v<T> || std::is_null_pointer_v<T>
    || std::ranges::view<T> || is_a<std::reference_wrapper, T> || is_a<std::initializer_list, T>;

/// Stands for an archive where a type's functions are looked for.
struct any_archive {
    template <typename... Args>
    void operator()(Args&&...);
};

template <typename T>
concept member_serialize = requires(T& t, any_archive& a) { t.serialize(a); };
template <typename T>
concept free_serialize = requires(T& t, any_archive& a) { serialize(a, t); };
template <typename T>
concept member_save_load = requires(T& t, const T& c, any_archive& a) { c.save(a); t.load(a); };
template <typename T>
concept free_save_load = requires(T& t, const T& c, any_archive& a) { save(a, c); load(a, t); };
template <typename T>
concept member_minimal = requires(T& t, const T& c, const any_archive& a) { t.load_minimal(a, c.save_minimal(a)); };
/// Private functions, for a friend (see cereal.hpp).
template <typename T>
struct for_a_friend;
template <typename T>
inline constexpr bool serializes_for_a_friend = false;
template <typename T>
concept serializable = std::is_class_v<T> && !address_like<T>
    && (member_serialize<T> || free_serialize<T> || member_save_load<T> || free_save_load<T> || member_minimal<T>
        || serializes_for_a_friend<T>);

template <typename T>
concept scalar = std::is_arithmetic_v<T> || std::is_enum_v<T>;
template <typename T>
concept tuple_like = is_a<std::tuple, T> || is_a<std::pair, T>;
template <typename T>
concept duration_like = is_a<std::chrono::duration, T>;
template <typename T>
concept time_point_like = is_a<std::chrono::time_point, T>;

/// Its bytes are the value, whatever they are: a block of such is copied at once.
template <typename T>
concept block = (scalar<T> && !std::same_as<T, bool>)
    || (std::is_class_v<T> && std::is_trivially_copyable_v<T> && !address_like<T> && !serializable<T> && !tuple_like<T>
        && !is_a<std::optional, T> && !is_a<std::variant, T> && !is_std_array<T> && !duration_like<T> && !time_point_like<T>
        && !std::is_empty_v<T>);

/// std::filesystem::path, without the header, which takes a tenth of a second to compile.
template <typename T>
concept path_like = std::ranges::forward_range<T> && std::same_as<std::ranges::range_value_t<T>, T> // the parts of a path are paths
    && requires(const T& path) {
           T::preferred_separator;
           { path.native() } -> std::same_as<const typename T::string_type&>;
           requires std::convertible_to<typename T::string_type, T>;
       };

template <typename T>
concept growing_container = std::ranges::forward_range<T> && !std::ranges::view<T> && !path_like<T>
    && requires(T& c, std::ranges::range_value_t<T> v) {
           requires requires { c.push_back(std::move(v)); } || requires { c.insert(std::move(v)); };
       };

} // namespace cofork::detail
