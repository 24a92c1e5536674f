// What a worker is sent, read as the worker reads it: the same bytes, whatever goes by the arena.

#include "support/catch.hpp"
#include "support/faults.hpp"
#include "support/work.hpp"

#include "large_item.hpp"
#include "outbox.hpp"

#include <cofork/detail/arriving.hpp>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace cofork::detail;

/// The parent's outbox, and what came out of it on the worker's side.
struct scene {
    std::shared_ptr<shared_pages> pages = std::make_shared<shared_pages>(1);
    page_view view{pages, 0};
    page& shared = *pages->get();
    outbox box{view};
    byte_buffer pipe;

    void add(std::vector<byte_buffer> pieces, bool large)
    {
        std::vector<segment> message;
        std::uint64_t size = 0;
        for (const byte_buffer& p : pieces)
            size += p.size();
        for (byte_buffer& p : pieces) {
            const auto keep = std::make_shared<byte_buffer>(std::move(p));
            message.push_back({keep, *keep, large ? size : 0});
            size -= keep->size();
        }
        box.add(message);
    }
    /// One write to the pipe.
    void write()
    {
        const byte_view now = box.next();
        REQUIRE_FALSE(now.empty());
        pipe.insert(pipe.end(), now.begin(), now.end());
        box.wrote();
    }
    void write_all()
    {
        while (!box.empty())
            write();
    }

    byte_view take(std::size_t size)
    {
        REQUIRE(size <= pipe.size() - at);
        at += size;
        return byte_view{pipe}.subspan(at - size, size);
    }
    std::uint64_t word() { return load<std::uint64_t>(take(sizeof(std::uint64_t)).data()); }

    std::size_t at = 0; // in the pipe
    large_item item{shared, pages->open_arena(0)};
    std::size_t by_arena = 0;
    std::size_t parts = 0;
    std::size_t largest_part = 0;
    std::size_t last_part = 0;

    byte_view take_large()
    {
        receive_large(nullptr);
        return item.all().bytes;
    }

    /// An item that is letters behind their number, made of what comes.
    std::string take_text()
    {
        receive_large(maker_of<std::string>());
        REQUIRE(item.all().block);
        return value_of<std::string>(item.all());
    }

    void receive_large(block_maker maker)
    {
        const std::uint64_t size = word();
        REQUIRE((size & is_large) != 0);
        item.begin(size & ~is_large, maker);
        for (std::uint64_t left = size & ~is_large; left > 0; ++parts) {
            const std::uint64_t part = word();
            last_part = part & ~is_large;
            largest_part = std::max(largest_part, last_part);
            if ((part & is_large) != 0) {
                item.add(word(), part & ~is_large);
                by_arena += part & ~is_large;
            }
            else {
                const byte_view bytes = take(part);
                if (maker)
                    item.add(bytes);
                else {
                    std::ranges::copy(bytes, item.room());
                    item.arrived(part);
                }
            }
            left -= part & ~is_large;
        }
    }
};

byte_buffer bytes_of(std::size_t size, unsigned seed)
{
    byte_buffer all(size);
    std::minstd_rand random{seed + 1};
    std::ranges::generate(all, [&] { return static_cast<std::byte>(random() >> 8); });
    return all;
}

bool same(byte_view a, byte_view b)
{
    return std::ranges::equal(a, b);
}

constexpr std::size_t whole = sizeof(arena::items);

} // namespace

TEST_CASE("a large item goes by the arena, behind what comes before it, for which its worker wakes up", "[outbox]")
{
    scene s;
    s.add({bytes_of(100, 1)}, false);
    s.add({bytes_of(8, 2), bytes_of(100'000, 3), bytes_of(20, 4)}, true);
    s.write();
    CHECK(s.pipe.size() == 100);
    CHECK_FALSE(s.box.empty());
    s.write();
    CHECK(s.box.empty());
    CHECK(s.box.writes() == 2);
    CHECK(same(s.take(100), bytes_of(100, 1)));
    const byte_view item = s.take_large();
    CHECK(s.by_arena == 100'028);
    CHECK(item.data() == s.pages->open_arena(0)->items); // where it is, and not a copy
    CHECK(same(item.subspan(8, 100'000), bytes_of(100'000, 3)));
    CHECK(same(item.last(20), bytes_of(20, 4)));
    CHECK(s.shared.taken == 0);
    s.item.done();
    CHECK(s.shared.taken == 100'028);
}

TEST_CASE("a value is made of the parts of a large item, and their place given back as they come", "[outbox]")
{
    scene s;
    std::size_t bytes = 0;
    const auto add = [&](const std::string& text, std::uint64_t count) {
        byte_buffer lead(sizeof count);
        store(lead.data(), count);
        const auto all = std::as_bytes(std::span{text});
        s.add({lead, {all.begin(), all.end()}}, true);
        bytes += lead.size() + all.size();
    };
    for (unsigned round = 0; round < 3; ++round) {
        const std::string first = test::letters(3'000'000 + round), second = test::letters(2'500'001 + round);
        add(first, first.size());
        add(second, second.size());
        s.write_all();
        CHECK(s.take_text() == first);
        CHECK(s.shared.taken > round * whole);
        CHECK(s.take_text() == second);
    }
    CHECK(s.by_arena > bytes / 2);
    CHECK(s.by_arena < bytes); // the rest found no room
    add(test::letters(100'000), 99'999);
    s.write_all();
    CHECK_THROWS_AS(s.take_text(), cofork::decode_error);
    CHECK(s.at == s.pipe.size());
}

TEST_CASE("items come out as they were, however many there are and whenever they are read", "[outbox]")
{
    const std::size_t sizes[] = {100, 70'000, whole, whole + 1, 3 * whole, 65'536, 2'000'000, 2'500'000, 10, 1'000'000};
    for (const bool at_once : {true, false}) {
        CAPTURE(at_once);
        scene s;
        for (unsigned round = 0; round < 3; ++round) {
            for (unsigned i = 0; i < std::size(sizes); ++i) {
                s.add({bytes_of(sizes[i], i)}, sizes[i] >= least_large);
                if (at_once)
                    continue;
                s.write_all();
                CHECK(same(sizes[i] >= least_large ? s.take_large() : s.take(sizes[i]), bytes_of(sizes[i], i)));
                if (round != 1)
                    s.item.done();
            }
            s.write_all();
            for (unsigned i = 0; at_once && i < std::size(sizes); ++i)
                CHECK(same(sizes[i] >= least_large ? s.take_large() : s.take(sizes[i]), bytes_of(sizes[i], i)));
            s.item.done();
        }
        CHECK(s.at == s.pipe.size());
        CHECK(s.by_arena > 3 * (whole - least_large)); // the rest found no room
    }
}

TEST_CASE("no turn copies more than a loop has time for", "[outbox]")
{
    scene s;
    const std::size_t size = 3 * most_at_once;
    s.add({bytes_of(size, 1)}, true);
    std::size_t turns = 0;
    for (; !s.box.empty(); ++turns)
        s.write();
    CHECK(same(s.take_large(), bytes_of(size, 1)));
    CHECK(s.parts == turns);
    CHECK(s.largest_part <= most_at_once);
    CHECK(s.largest_part >= size / 5);
    CHECK(s.last_part <= 128 * 1024); // its reader has to wait for it
    CHECK(turns < 16);
}

TEST_CASE("what a hostile worker says of the arena changes nothing but its own items", "[outbox][F66]")
{
    for (const std::uint64_t lie : {std::uint64_t{1}, std::uint64_t{whole}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
        CAPTURE(lie);
        scene s;
        for (unsigned i = 0; i < 8; ++i) {
            s.shared.taken = lie * i;
            s.add({bytes_of(1'500'000, i)}, true);
            s.write_all();
        }
        std::size_t bytes = 0;
        for (unsigned i = 0; i < 8; ++i)
            bytes += s.take_large().size();
        CHECK(bytes == 8 * 1'500'000u);
        CHECK(s.at == s.pipe.size());
    }
}

TEST_CASE("the next worker of a slot does not see what the last one was sent", "[outbox]")
{
    scene s;
    s.add({bytes_of(1'000'000, 1)}, true);
    s.write_all();
    const arena* const memory = s.pages->open_arena(0);
    CHECK(same(byte_view{memory->items}.first(1'000'000), bytes_of(1'000'000, 1)));
    const page_view next{s.pages, 0};
    CHECK(std::ranges::all_of(memory->items, [](std::byte b) { return b == std::byte{}; }));
}

// Its results, which nobody has read because it died.
TEST_CASE("the next worker of a slot does not see what the last one has written", "[outbox]")
{
    const auto pages = std::make_shared<shared_pages>(1);
    const page_view first{pages, 0};
    test::helper_process worker{[&] {
        if (::mprotect(pages->arenas(), sizeof(arena), PROT_READ | PROT_WRITE) == 0)
            pages->arenas()->results[5000] = std::byte{1};
        ::_exit(pages->arenas()->results[5000] == std::byte{1} ? 0 : 1);
    }};
    REQUIRE(worker.status() == 0);
    const page_view next{pages, 0};
    CHECK(pages->open_arena(0)->results[5000] == std::byte{0});
}

TEST_CASE("of the arenas of many workers few are kept when none of them has anything to do", "[outbox]")
{
    shared_pages pages{20};
    for (std::uint32_t slot = 0; slot < 20; ++slot)
        pages.open_arena(slot)->items[0] = pages.open_arena(slot)->results[0] = std::byte{1};
    pages.trim_arenas();
    for (std::uint32_t slot = 0; slot < 20; ++slot) {
        CAPTURE(slot);
        unsigned char resident = 2;
        REQUIRE(::mincore(pages.arenas() + slot, 1, &resident) == 0);
        CHECK((resident & 1) == (slot < 12 ? 1 : 0));
        CHECK(pages.open_arena(slot)->items[0] == std::byte{slot < 12}); // and can be used again
    }
}

// mmap(2) without memory takes addresses all the same, which such a program may need for something else.
TEST_CASE("a program that may have few addresses has no arena, and all goes by the pipe", "[outbox]")
{
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
    const rlimit fewer{rlim_t{1} << 46, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_AS, &fewer) == 0);
    scene s;
    REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(s.pages->arenas() == nullptr);
    s.add({bytes_of(10, 1), bytes_of(3'000'000, 2)}, true);
    s.write_all();
    const byte_view item = s.take_large();
    CHECK(s.by_arena == 0);
    CHECK(same(item.subspan(10), bytes_of(3'000'000, 2)));
    CHECK(scene{}.pages->arenas() != nullptr);
}
