// Where bytes go in a shared arena: never onto what its reader still needs, whatever that says.

#include "support/catch.hpp"

#include "arena_writer.hpp"

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace {

using namespace cofork::detail;

constexpr std::size_t whole = 256 * 1024;

struct scene {
    std::vector<std::byte> memory = std::vector<std::byte>(whole);
    std::atomic<std::uint64_t> read_to = 0;
    arena_writer writer{memory, read_to};

    std::size_t offset(const arena_writer::room& r) const { return static_cast<std::size_t>(r.memory.data() - memory.data()); }
};

} // namespace

TEST_CASE("what was read is written to again, from the begin", "[arena_writer]")
{
    scene s;
    for (int round = 0; round < 5; ++round) {
        s.writer.begin(100'000);
        const auto first = s.writer.take(60'000);
        const auto second = s.writer.take(40'000);
        CHECK(s.offset(first) == 0);
        CHECK(first.memory.size() == 60'000);
        CHECK(s.offset(second) == 60'000);
        CHECK(second.position == first.position + 60'000);
        s.read_to = second.position + second.memory.size();
    }
}

TEST_CASE("there is no room before the reader is on, and then as much as it has read", "[arena_writer]")
{
    scene s;
    s.writer.begin(2 * whole);
    const auto all = s.writer.take(2 * whole);
    CHECK(all.memory.size() == whole);
    CHECK(s.writer.take(1).memory.empty());
    s.read_to = all.position + 10'000; // too little to be worth it
    CHECK(s.writer.take(whole).memory.empty());
    CHECK(s.writer.take(9'000).memory.size() == 9'000);
    s.read_to = all.position + 50'000;
    CHECK(s.writer.take(whole).memory.size() == 41'000);
    CHECK(s.writer.take(whole).memory.empty());
}

TEST_CASE("what fits in one piece gets one piece", "[arena_writer]")
{
    scene s;
    s.writer.begin(150'000);
    const auto first = s.writer.take(150'000);
    s.writer.begin(100'000);
    const auto second = s.writer.take(100'000);
    CHECK(second.memory.size() == 100'000);
    CHECK(s.offset(second) % 64 == 0);
    s.read_to = first.position + first.memory.size();
    s.writer.begin(120'000); // more than there is behind the second one
    const auto third = s.writer.take(120'000);
    CHECK(third.memory.size() == 120'000);
    CHECK(s.offset(third) == 0);
    s.writer.begin(200'000); // no place has that much: what there is
    CHECK(s.writer.take(200'000).memory.size() == 150'000 - 120'000);
}

TEST_CASE("an end that is too short for a part is passed over", "[arena_writer]")
{
    scene s;
    s.writer.begin(2 * whole);
    const auto first = s.writer.take(whole - 1000);
    CHECK(s.writer.take(whole).memory.empty()); // nobody has read
    s.read_to = first.position + 100'000;
    const auto second = s.writer.take(whole);
    CHECK(s.offset(second) == 0);
    CHECK(second.memory.size() == 100'000);
    CHECK(second.position == first.position + whole);
    s.read_to = second.position + second.memory.size();
    CHECK(s.writer.take(whole).memory.size() == whole - 100'000);
}

TEST_CASE("a reader that lies has no room or is believed, and nothing is written outside", "[arena_writer][F66]")
{
    scene s;
    std::minstd_rand random{1};
    for (int i = 0; i < 100'000; ++i) {
        switch (random() % 4) {
        case 0: s.read_to = std::uint64_t{random()} << random() % 64; break;
        case 1: s.read_to += random() % (2 * whole); break;
        case 2: s.read_to -= random() % (2 * whole); break;
        default: s.writer.begin(random() % (2 * whole));
        }
        const auto room = s.writer.take(random() % (2 * whole));
        if (room.memory.empty())
            continue;
        REQUIRE(room.memory.data() >= s.memory.data());
        REQUIRE(s.offset(room) + room.memory.size() <= whole);
        REQUIRE(room.position % whole == s.offset(room));
    }
}

TEST_CASE("without memory there is never any room", "[arena_writer]")
{
    const std::atomic<std::uint64_t> read_to = 0;
    arena_writer none{{}, read_to};
    CHECK_FALSE(none.exists());
    none.begin(10);
    CHECK(none.take(10).memory.empty());
}
