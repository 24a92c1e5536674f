#pragma once
// Types that travel, one of each sort: what codec_fuzz.cpp decodes.

#include <cofork/cereal.hpp>
#include <cofork/codec.hpp>


#include <array>
#include <chrono>
#include <compare>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace fuzz {

enum class colour : std::uint8_t { red, green, blue };

struct empty {
    friend bool operator==(const empty&, const empty&) = default;
};

/// Trivially copyable and without padding: its bytes are its value.
struct point {
    std::int32_t x, y;
    std::uint64_t z;
    friend auto operator<=>(const point&, const point&) = default;
};

/// Wants an alignment that bytes of a message seldom have.
struct alignas(16) wide {
    std::uint64_t low, high;
    friend bool operator==(const wide&, const wide&) = default;
};

struct member_serialized {
    std::string name;
    std::vector<int> numbers;
    bool flag = false;
    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(name, numbers);
        archive & flag;
    }
    friend bool operator==(const member_serialized&, const member_serialized&) = default;
};

struct free_serialized {
    std::optional<std::string> text;
    colour c{};
    friend bool operator==(const free_serialized&, const free_serialized&) = default;
};
template <typename Archive>
void serialize(Archive& archive, free_serialized& value)
{
    archive(value.text, value.c);
}

struct saved_and_loaded {
    std::vector<std::string> lines;
    template <typename Archive>
    void save(Archive& archive) const
    {
        archive(cereal::make_size_tag(static_cast<cereal::size_type>(lines.size())));
        for (const auto& line : lines)
            archive(line);
    }
    template <typename Archive>
    void load(Archive& archive)
    {
        cereal::size_type n = 0;
        archive(cereal::make_size_tag(n));
        lines.clear();
        while (n-- > 0)
            archive(lines.emplace_back());
    }
    friend bool operator==(const saved_and_loaded&, const saved_and_loaded&) = default;
};

struct minimal {
    std::string word;
    template <typename Archive>
    std::string save_minimal(const Archive&) const
    {
        return word;
    }
    template <typename Archive>
    void load_minimal(const Archive&, const std::string& from)
    {
        word = from;
    }
    friend bool operator==(const minimal&, const minimal&) = default;
};

class private_derived : public member_serialized {
public:
    friend bool operator==(const private_derived&, const private_derived&) = default;

private:
    friend cereal::access;
    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(cereal::base_class<member_serialized>(this), cereal::make_nvp("extra", extra_));
    }
    std::int16_t extra_ = 0;
};

/// Nested as deeply as the bytes say.
struct tree {
    std::vector<tree> children;
    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(children);
    }
    friend bool operator==(const tree&, const tree&) = default;
};

struct chain {
    std::uint8_t link = 0;
    std::unique_ptr<chain> next;
    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(link, next);
    }
    friend bool operator==(const chain& a, const chain& b)
    {
        return a.link == b.link && (a.next && b.next ? *a.next == *b.next : !a.next == !b.next);
    }
};

template <typename... T>
struct type_list {};

using whole_clock = std::chrono::time_point<std::chrono::system_clock, std::chrono::seconds>;
using choice = std::variant<std::monostate, bool, std::string, point, std::vector<std::uint16_t>>;

/// A type may be added at the end: the corpus names types by their place.
using travelling = type_list<
    // scalars
    bool, char, std::int8_t, std::uint64_t, colour, double, point, wide, empty,
    // text and blocks
    std::string, std::u16string, std::u32string, std::vector<std::byte>, std::vector<std::uint16_t>, std::vector<point>,
    std::vector<wide>, std::filesystem::path,
    // containers, element by element
    std::vector<bool>, std::vector<std::string>, std::deque<std::uint32_t>, std::list<std::string>, std::set<std::int16_t>,
    std::multiset<std::string>, std::map<std::string, std::uint32_t>, std::multimap<std::uint8_t, std::string>,
    std::unordered_set<std::uint16_t>, std::unordered_map<std::uint8_t, std::vector<std::uint8_t>>,
    std::vector<empty>, std::list<std::monostate>,
    // made of others
    std::array<std::uint32_t, 3>, std::array<std::string, 2>, std::array<bool, 4>, std::pair<bool, std::string>,
    std::tuple<>, std::tuple<std::uint8_t, std::string, bool>, std::optional<bool>, std::optional<std::vector<std::string>>,
    std::unique_ptr<std::string>, choice, std::variant<std::uint8_t, choice>, std::chrono::nanoseconds,
    std::chrono::duration<double, std::milli>, whole_clock, std::chrono::steady_clock::time_point,
    // nested
    std::vector<std::vector<std::vector<std::uint8_t>>>, std::map<std::string, std::vector<std::optional<choice>>>,
    std::vector<std::unique_ptr<std::vector<std::string>>>, std::vector<std::vector<empty>>,
    std::optional<std::optional<std::optional<std::uint8_t>>>,
    // as cereal wants them
    member_serialized, free_serialized, saved_and_loaded, minimal, private_derived, std::vector<member_serialized>,
    std::map<std::uint8_t, private_derived>, tree, chain>;

} // namespace fuzz
