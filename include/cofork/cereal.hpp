#pragma once
// For types that were written for cereal: private functions behind cereal::access, make_nvp, base_class, make_size_tag.
//
// Public `serialize`, `save` and `load` functions without these work with cofork/codec.hpp alone. Include this before
// the first use of such a type.

#include <cofork/codec.hpp>

#include <cereal/access.hpp>
#include <cereal/cereal.hpp>
#include <cereal/types/base_class.hpp>

namespace cofork::detail {

template <typename T>
concept private_serialize = std::is_class_v<T> && !member_serialize<T>
    && requires(T& t, any_archive& a) { cereal::access::member_serialize(a, t); };

template <private_serialize T>
inline constexpr bool serializes_for_a_friend<T> = true;

template <private_serialize T>
struct for_a_friend<T> {
    template <typename Archive>
    static void serialize(Archive& archive, T& value)
    {
        cereal::access::member_serialize(archive, value);
    }
};

/// A name is for people; the bytes do without.
template <typename T>
struct archived<cereal::NameValuePair<T>> {
    using value_type = std::remove_cvref_t<T>;
    static void save(encoder& to, const cereal::NameValuePair<T>& pair) { to.value(static_cast<const value_type&>(pair.value)); }
    static void load(decoder& from, cereal::NameValuePair<T>& pair) { pair.value = from.value<value_type>(); }
};

template <typename T>
struct archived<cereal::SizeTag<T>> {
    static void save(encoder& to, const cereal::SizeTag<T>& tag) { to.value(static_cast<std::uint64_t>(tag.size)); }
    static void load(decoder& from, cereal::SizeTag<T>& tag)
    {
        const auto n = from.value<std::uint64_t>();
        from.require(n, 0);
        tag.size = static_cast<std::remove_cvref_t<decltype(tag.size)>>(n);
    }
};

template <typename Base>
struct archived<cereal::base_class<Base>> {
    static void save(encoder& to, const cereal::base_class<Base>& base) { to.value(*base.base_ptr); }
    static void load(decoder& from, cereal::base_class<Base>& base) { *base.base_ptr = from.value<Base>(); }
};

} // namespace cofork::detail
