// A value that is made while its bytes come: the same, however they are cut and wherever they lie.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"

#include <cofork/detail/arriving.hpp>

#include <array>
#include <cstdint>
#include <fstream>
#include <list>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include <malloc.h>

namespace {

using namespace cofork::detail;

template <std::size_t Size>
struct element {
    std::array<std::uint16_t, Size / 2> all;

    bool operator==(const element&) const = default;
};

template <typename T>
T made(std::size_t count)
{
    T value(count, typename T::value_type{});
    auto* const bytes = reinterpret_cast<unsigned char*>(value.data());
    for (std::size_t i = 0; i < count * sizeof(typename T::value_type); ++i)
        bytes[i] = static_cast<unsigned char>(i * 31 + i / 251);
    return value;
}

byte_buffer encoded(const auto& value)
{
    byte_buffer bytes;
    cofork::encoder to{bytes};
    to.value(value);
    return bytes;
}

/// As it would come: the number, and then the block in pieces, each somewhere else in memory.
std::unique_ptr<arriving_block> sent_in_pieces(block_maker maker, byte_view block, std::minstd_rand& random, std::size_t most)
{
    auto value = maker();
    value->expect(block.size());
    std::vector<std::byte> memory(most + 64);
    while (!block.empty()) {
        const std::size_t size = std::min<std::size_t>(block.size(), 1 + random() % most);
        std::byte* const somewhere = memory.data() + random() % 64;
        std::copy_n(block.begin(), size, somewhere);
        value->add({somewhere, size});
        block = block.subspan(size);
    }
    return value;
}

} // namespace

TEMPLATE_TEST_CASE(
    "a value is the same, however its bytes are cut", "[arriving]", std::string, std::u32string, std::vector<char>,
    std::vector<double>, std::vector<element<6>>, std::vector<element<12>>, std::vector<element<700>>)
{
    std::minstd_rand random{7};
    for (const std::size_t count : {1u, 2u, 3u, 1000u, 20'000u})
        for (const std::size_t most : {1u, 17u, 5000u, 100'000u}) {
            const auto value = made<TestType>(count);
            const byte_buffer bytes = encoded(value);
            if (bytes.size() / most > 400'000)
                continue;
            CAPTURE(count, most);
            const byte_view lead = byte_view{bytes}.first(arriving_block::lead);
            const auto block = sent_in_pieces(maker_of<TestType>(), byte_view{bytes}.subspan(lead.size()), random, most);
            const TestType out = value_of<TestType>({lead, block.get()});
            CHECK(out == value);
            CHECK(out.capacity() <= value.size() + 16); // it was made with the room that it needs
        }
}

TEST_CASE("a number that is not that of the elements is refused", "[arriving][hostile]")
{
    std::minstd_rand random{7};
    const byte_buffer block(600);
    const auto received = [&](std::size_t bytes, std::uint64_t count) {
        const auto value = sent_in_pieces(maker_of<std::vector<element<6>>>(), byte_view{block}.first(bytes), random, 100);
        const byte_buffer lead = encoded(count);
        return value_of<std::vector<element<6>>>({lead, value.get()}).size();
    };
    CHECK(received(600, 100) == 100);
    CHECK_THROWS_AS(received(600, 99), cofork::decode_error);
    CHECK_THROWS_AS(received(600, 101), cofork::decode_error);
    CHECK_THROWS_AS(received(600, ~std::uint64_t{0}), cofork::decode_error);
    CHECK_THROWS_AS(received(599, 99), cofork::decode_error); // a part of an element
    CHECK_THROWS_AS(received(599, 100), cofork::decode_error);
}

// The worker began to answer when its next item was another call's.
TEST_CASE("a value of another type is refused", "[arriving][hostile]")
{
    const auto value = maker_of<std::string>()();
    const byte_buffer lead = encoded(std::uint64_t{0});
    CHECK(value_of<std::string>({lead, value.get()}).empty());
    CHECK_THROWS_AS((value_of<std::vector<char>>({lead, value.get()})), cofork::decode_error);
    CHECK_THROWS_AS(value_of<std::uint64_t>({lead, value.get()}), cofork::decode_error);
    CHECK_THROWS_AS((value_of<std::list<char>>({lead, value.get()})), cofork::decode_error);
}

namespace {

std::size_t resident_pages()
{
    std::size_t all = 0, resident = 0;
    std::ifstream{"/proc/self/statm"} >> all >> resident;
    return resident;
}

} // namespace

TEST_CASE("what is announced takes no memory", "[arriving][hostile]")
{
    ::mallopt(M_PERTURB, 0); // which meson sets: malloc would write to all that it gives
    const auto value = maker_of<std::vector<double>>()();
    const std::size_t before = resident_pages();
    value->expect(std::size_t{1} << 60);
    value->add(byte_buffer(sizeof(double)));
    if (!test::forks_are_slow) // a sanitizer notes what may be read
        CHECK(resident_pages() - before < 256);
    const byte_buffer lead = encoded(std::uint64_t{1});
    CHECK(value_of<std::vector<double>>({lead, value.get()}).size() == 1);
}

TEST_CASE("what is not one block of elements is wanted in one piece", "[arriving]")
{
    CHECK(maker_of<std::vector<std::string>>() == nullptr);
    CHECK(maker_of<std::list<int>>() == nullptr);
    CHECK(maker_of<std::vector<bool>>() == nullptr);
    CHECK((maker_of<std::tuple<std::string, int>>()) == nullptr);
    CHECK((maker_of<std::array<int, 100'000>>()) == nullptr);
    CHECK(maker_of<int>() == nullptr);
}

namespace {

struct row {
    const int id = 0;
    double value = 0;
};

/// A vector of the program's own.
struct shelf : std::vector<int> {
    using std::vector<int>::vector;
};

template <typename T>
struct own_allocator : std::allocator<T> {
    template <typename U>
    struct rebind {
        using other = own_allocator<U>;
    };
};

} // namespace

TEST_CASE("nothing of the program's own runs while a value comes", "[arriving]")
{
    STATIC_CHECK(cofork::codable<std::vector<row>>);
    CHECK(maker_of<std::vector<row>>() == nullptr);
    STATIC_CHECK(cofork::codable<shelf>);
    CHECK(maker_of<shelf>() == nullptr);
    STATIC_CHECK(cofork::codable<std::vector<int, own_allocator<int>>>);
    CHECK((maker_of<std::vector<int, own_allocator<int>>>()) == nullptr);
}
