// How values become bytes and back, and what hostile bytes do.

#include <cofork/cereal.hpp>
#include <cofork/codec.hpp>

#include "support/catch.hpp"

#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <random>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace {

using bytes = std::vector<std::byte>;

template <typename T>
bytes encoded(const T& value)
{
    bytes out;
    cofork::encoder{out}.value(value);
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

struct point {
    int x = 0;
    double y = 0;
    friend bool operator==(const point&, const point&) = default;
};
struct with_member {
    int number = 0;
    std::vector<std::string> words;
    template <typename Archive>
    void serialize(Archive& a)
    {
        a(number, words);
    }
    friend bool operator==(const with_member&, const with_member&) = default;
};
struct with_function {
    std::string text;
    friend bool operator==(const with_function&, const with_function&) = default;
};
template <typename Archive>
void serialize(Archive& a, with_function& w)
{
    a& w.text;
}
struct with_save_load {
    std::string text;
    template <typename Archive>
    void save(Archive& a) const
    {
        a(text);
    }
    template <typename Archive>
    void load(Archive& a)
    {
        a(text);
    }
    friend bool operator==(const with_save_load&, const with_save_load&) = default;
};
class minimal {
public:
    minimal() = default;
    explicit minimal(std::string t) : text_{std::move(t)} {}
    template <typename Archive>
    std::string save_minimal(const Archive&) const
    {
        return text_;
    }
    template <typename Archive>
    void load_minimal(const Archive&, const std::string& t)
    {
        text_ = t;
    }
    friend bool operator==(const minimal&, const minimal&) = default;

private:
    std::string text_;
};
class written_for_cereal : public with_member {
public:
    written_for_cereal() = default;
    explicit written_for_cereal(int secret) : secret_{secret} {}
    friend bool operator==(const written_for_cereal&, const written_for_cereal&) = default;

private:
    friend class cereal::access;
    template <typename Archive>
    void serialize(Archive& a)
    {
        a(cereal::make_nvp("base", cereal::base_class<with_member>(this)), cereal::make_nvp("secret", secret_));
    }
    int secret_ = 0;
};
struct own_codec {
    int value = 0;
    template <typename Archive>
    void serialize(Archive&)
    {
        throw std::logic_error{"a specialisation of codec goes first"};
    }
    friend bool operator==(const own_codec&, const own_codec&) = default;
};
struct tree {
    std::vector<tree> below;
    template <typename Archive>
    void serialize(Archive& a)
    {
        a(below);
    }
};
enum class colour : unsigned char { red = 1 };
struct nothing {
    [[maybe_unused]] friend bool operator==(const nothing&, const nothing&) = default;
};

} // namespace

template <>
struct cofork::codec<own_codec> {
    static void encode(encoder& to, const own_codec& v) { to.value(v.value); }
    static own_codec decode(decoder& from) { return {from.value<int>()}; }
};

namespace {

static_assert(!cofork::codable<int*> && !cofork::codable<const char*> && !cofork::codable<std::string_view>);
static_assert(!cofork::codable<std::span<int>> && !cofork::codable<std::reference_wrapper<int>>);
static_assert(!cofork::codable<int (*)(int)> && !cofork::codable<int point::*>);
static_assert(!cofork::codable<std::vector<int*>> && !cofork::codable<std::pair<int, std::string_view>>);

/// The round trip, and what is missing or too much at every place.
template <typename T>
void travels(const T& value)
{
    const bytes all = encoded(value);
    CHECK(decoded<T>(all) == value);
    for (std::size_t n = 0; n < all.size(); ++n)
        CHECK_THROWS_AS(decoded<T>(std::span{all}.first(n)), cofork::decode_error);
    bytes more = all;
    more.push_back(std::byte{0});
    CHECK_THROWS_AS(decoded<T>(more), cofork::decode_error);
}

/// Whatever the bytes are, there is a value or a decode_error, and nothing is allocated for a claim alone.
template <typename T>
void survives_noise()
{
    std::mt19937 random{4711};
    for (int i = 0; i < 20'000; ++i) {
        bytes noise(random() % 40);
        for (std::byte& b : noise)
            b = static_cast<std::byte>(random() % 4 == 0 ? 0xff : random() % 3);
        try {
            (void)decoded<T>(noise);
        }
        catch (const cofork::decode_error&) {
        }
    }
}

} // namespace

TEST_CASE("values of every covered type travel, and no prefix of their bytes does", "[codec]")
{
    travels(42);
    travels(true);
    travels('c');
    travels(2.5);
    travels(std::byte{7});
    travels(colour::red);
    travels(point{1, 2});
    travels(std::string{"text"});
    travels(std::string{});
    travels(std::u16string{u"text"});
    travels(std::vector<int>{1, 2, 3});
    travels(std::vector<point>{{1, 2}, {3, 4}});
    travels(std::vector<bool>{true, false, true});
    travels(std::vector<std::string>{"a", "", "ccc"});
    travels(std::array<int, 3>{1, 2, 3});
    travels(std::array<std::string, 2>{"a", "b"});
    travels(std::deque<int>{1, 2});
    travels(std::list<std::string>{"a", "b"});
    travels(std::set<int>{1, 2});
    travels(std::multiset<int>{1, 1});
    travels(std::map<std::string, int>{{"a", 1}, {"b", 2}});
    travels(std::multimap<int, int>{{1, 1}, {1, 2}});
    travels(std::unordered_map<int, std::string>{{1, "a"}, {2, "b"}});
    travels(std::unordered_set<int>{1, 2, 3});
    travels(std::optional<std::string>{"x"});
    travels(std::optional<int>{});
    travels(std::variant<int, std::string>{"x"});
    travels(std::variant<std::monostate, int>{5});
    travels(std::pair<int, std::string>{1, "x"});
    travels(std::tuple<int, std::string, point>{1, "x", {1, 2}});
    travels(std::chrono::milliseconds{5});
    travels(std::chrono::system_clock::time_point{std::chrono::seconds{5}});
    travels(std::filesystem::path{"/a/b"});
    travels(std::map<int, std::vector<std::optional<point>>>{{1, {point{1, 2}, std::nullopt}}});
}

TEST_CASE("types with functions for cereal travel", "[codec]")
{
    travels(with_member{1, {"a", "b"}});
    travels(with_function{"x"});
    travels(with_save_load{"x"});
    travels(minimal{"x"});
    travels(written_for_cereal{7});
    travels(own_codec{5});
    travels(std::vector<with_member>{{1, {"a"}}, {}});
}

TEST_CASE("types without content travel as nothing", "[codec]")
{
    CHECK(encoded(nothing{}).empty());
    CHECK(encoded(std::tuple<>{}).empty());
    CHECK(decoded<std::vector<nothing>>(encoded(std::vector<nothing>(3))).size() == 3);
}

TEST_CASE("move-only values travel", "[codec]")
{
    std::vector<std::unique_ptr<int>> values;
    values.push_back(std::make_unique<int>(5));
    values.push_back(nullptr);
    const auto back = decoded<std::vector<std::unique_ptr<int>>>(encoded(values));
    REQUIRE(back.size() == 2);
    CHECK(*back[0] == 5);
    CHECK(back[1] == nullptr);
}

TEST_CASE("a large block travels whole", "[codec]")
{
    std::vector<std::uint32_t> values(1 << 20);
    for (std::uint32_t i = 0; i < values.size(); ++i)
        values[i] = i * 2654435761u;
    CHECK(decoded<std::vector<std::uint32_t>>(encoded(values)) == values);
}

TEST_CASE("a block at an odd address is read all the same", "[codec]")
{
    bytes all = encoded(std::vector<double>{1, 2, 3});
    all.insert(all.begin(), std::byte{0});
    CHECK(decoded<std::vector<double>>(std::span{all}.subspan(1)) == std::vector<double>{1, 2, 3});
}

TEST_CASE("a value that its type does not have is refused", "[codec][hostile]")
{
    CHECK_THROWS_AS(decoded<bool>(encoded('\2')), cofork::decode_error);
    CHECK_THROWS_AS((decoded<std::variant<int, char>>(encoded(std::pair<std::uint32_t, int>{2, 0}))), cofork::decode_error);
    CHECK_THROWS_AS(decoded<std::optional<char>>(encoded(std::pair<char, char>{3, 0})), cofork::decode_error);
}

TEST_CASE("a length is not believed before its bytes are there", "[codec][hostile]")
{
    const std::uint64_t claim = GENERATE(5u, std::uint64_t{1} << 31, std::uint64_t{1} << 61, ~std::uint64_t{0});
    bytes all = encoded(claim);
    all.resize(all.size() + 3);
    CHECK_THROWS_AS(decoded<std::string>(all), cofork::decode_error);
    CHECK_THROWS_AS(decoded<std::vector<double>>(all), cofork::decode_error);
    CHECK_THROWS_AS(decoded<std::vector<std::string>>(all), cofork::decode_error);
    if (claim > 10'000)
        CHECK_THROWS_AS(decoded<std::vector<nothing>>(all), cofork::decode_error);
}

TEST_CASE("nesting is bounded on both sides", "[codec][hostile]")
{
    tree deep;
    for (int i = 0; i < 60; ++i) {
        tree above;
        above.below.push_back(std::move(deep));
        deep = std::move(above);
    }
    CHECK(decoded<tree>(encoded(deep)).below.size() == 1);
    bytes hostile;
    for (int i = 0; i < 100'000; ++i) {
        const bytes one = encoded(std::uint64_t{1});
        hostile.insert(hostile.end(), one.begin(), one.end());
    }
    CHECK_THROWS_AS(decoded<tree>(hostile), cofork::decode_error);
}

TEST_CASE("noise is a value or an error", "[codec][hostile]")
{
    survives_noise<std::string>();
    survives_noise<std::vector<bool>>();
    survives_noise<std::map<std::string, std::vector<int>>>();
    survives_noise<std::variant<int, std::string, std::vector<bool>>>();
    survives_noise<with_member>();
    survives_noise<tree>();
    survives_noise<std::vector<nothing>>();
}

TEST_CASE("an encoder stops at its limit", "[codec]")
{
    bytes out;
    cofork::encoder to{out, 10};
    to.value(std::uint64_t{1});
    CHECK_THROWS_AS(to.value(std::uint32_t{1}), cofork::encode_too_large);
    to.value(std::uint16_t{1});
    CHECK(to.written() == 10);
    CHECK_THROWS_AS(to.value('x'), cofork::encode_too_large);
}
