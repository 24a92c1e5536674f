// Cutting a worker's bytes into replies: whole or not at all, however they are cut.

#include "support/catch.hpp"
#include "support/plain_block.hpp"

#include "reply_parser.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace cofork::detail;

constexpr std::uint64_t most = 1 << 20;

byte_buffer payload_of(std::size_t size, std::uint32_t seed)
{
    byte_buffer bytes(size);
    for (std::size_t i = 0; i < size; ++i)
        bytes[i] = static_cast<std::byte>(i * 31 + seed);
    return bytes;
}

void append(byte_buffer& stream, const reply_header& header, const byte_buffer& payload)
{
    const std::size_t at = stream.size();
    stream.resize(at + sizeof header);
    store(stream.data() + at, header);
    stream.insert(stream.end(), payload.begin(), payload.end());
}

/// Replies with these payload sizes, as a worker would write them.
byte_buffer stream_of(const std::vector<std::size_t>& sizes)
{
    byte_buffer stream;
    for (std::uint32_t i = 0; i < sizes.size(); ++i)
        append(stream, {reply_magic, reply_kind::value, static_cast<std::uint8_t>(i), i, sizes[i]}, payload_of(sizes[i], i));
    return stream;
}

/// What a worker shares with the parser.
struct shared_results final : part_source {
    byte_view memory() override { return bytes; }
    void received(std::uint64_t position) noexcept override { read_to = position; }

    byte_buffer bytes;
    std::uint64_t read_to = 0;
};

struct reader {
    shared_results shared;
    reply_parser parser{shared};
    std::vector<byte_buffer> got;
    std::vector<std::uint8_t> ran;
    std::uint32_t longest_run = 0;
    unsigned in_blocks = 0;
    std::uint64_t max_result = most;
    std::uint32_t at_once = 3;
    block_maker maker = nullptr;
    std::size_t before_value = 0;
    std::size_t stop_after = std::numeric_limits<std::size_t>::max();

    const char* feed(byte_view bytes)
    {
        const auto next = [this] {
            return next_replies{static_cast<std::uint32_t>(got.size()), max_result, at_once, maker, before_value};
        };
        return parser.feed(bytes, next, [this](const reply_run& run) {
            CHECK(run.header.sequence == got.size());
            REQUIRE(run.count <= at_once);
            longest_run = std::max(longest_run, run.count);
            if (run.block) {
                CHECK(run.count == 1);
                CHECK(run.payload().size() == before_value + arriving_block::lead);
                got.push_back(test::plain_block::whole(run.payload(), run.block));
                ran.push_back(run.header.ran);
                ++in_blocks;
                return true;
            }
            for (std::uint32_t i = 0; i < run.count; ++i) {
                const byte_view payload{run.at + i * run.stride() + sizeof run.header, run.header.size};
                got.emplace_back(payload.begin(), payload.end());
                ran.push_back(run.ran(i));
            }
            return got.size() < stop_after;
        });
    }

    /// As the link reads: a large rest goes straight into the parser's memory.
    const char* receive(byte_view bytes)
    {
        while (!bytes.empty()) {
            const auto rest = parser.large_rest();
            if (rest.empty())
                return feed(bytes);
            const std::size_t n = std::min(rest.size(), bytes.size());
            std::copy_n(bytes.begin(), n, rest.begin());
            bytes = bytes.subspan(n);
            parser.got(n);
            if (const char* const wrong = feed({}))
                return wrong;
        }
        return nullptr;
    }

    void check(const std::vector<std::size_t>& sizes) const
    {
        REQUIRE(got.size() == sizes.size());
        for (std::uint32_t i = 0; i < sizes.size(); ++i) {
            CHECK(got[i] == payload_of(sizes[i], i));
            CHECK(ran[i] == i);
        }
    }
};

} // namespace

TEST_CASE("replies come out the same however their bytes are cut", "[reply_parser][F6]")
{
    const std::vector<std::size_t> sizes{0, 1, 40, 0, 0, 15, 15, 15, 15, 16, 17, 300, 0};
    const byte_buffer stream = stream_of(sizes);
    SECTION("at any one place")
    {
        for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
            CAPTURE(cut);
            reader r;
            REQUIRE(r.feed(byte_view{stream}.first(cut)) == nullptr);
            REQUIRE(r.feed(byte_view{stream}.subspan(cut)) == nullptr);
            r.check(sizes);
            CHECK(r.parser.position() == stream.size());
        }
    }
    SECTION("after every byte")
    {
        reader r;
        for (const std::byte& b : stream)
            REQUIRE(r.feed({&b, 1}) == nullptr);
        r.check(sizes);
    }
}

TEST_CASE("large replies come out the same, read into place or copied", "[reply_parser]")
{
    const std::vector<std::size_t> sizes{70'000, 3, 500'000, 65'536, 65'520, 0, 1'000'000};
    const byte_buffer stream = stream_of(sizes);
    std::minstd_rand random{1};
    for (int round = 0; round < 50; ++round) {
        reader r;
        for (byte_view left = stream; !left.empty();) {
            const std::size_t n = std::min<std::size_t>(left.size(), 1 + random() % 100'000);
            REQUIRE(r.receive(left.first(n)) == nullptr);
            left = left.subspan(n);
        }
        r.check(sizes);
        CHECK(r.parser.position() == stream.size());
    }
}

namespace {

/// A reply in parts of at most so many bytes: some in the stream, the others in the arena, whose bytes are all those of `payload`.
void append_in_parts(byte_buffer& stream, reply_header header, const byte_buffer& payload, std::size_t most_of_one, unsigned in_arena)
{
    header.size = payload.size() | is_large;
    append(stream, header, {});
    const auto say = [&](std::uint64_t word) {
        stream.resize(stream.size() + sizeof word);
        store(stream.data() + stream.size() - sizeof word, word);
    };
    for (std::size_t at = 0, k = 0; at < payload.size(); ++k) {
        const std::size_t size = std::min(most_of_one, payload.size() - at);
        const byte_view part = byte_view{payload}.subspan(at, size);
        if ((in_arena >> k % 4 & 1) != 0) {
            say(size | is_large);
            say(7 * payload.size() + at);
        }
        else {
            say(size);
            stream.insert(stream.end(), part.begin(), part.end());
        }
        at += size;
    }
}

} // namespace

TEST_CASE("a reply in parts is put together, wherever they lie and however they are cut", "[reply_parser]")
{
    const byte_buffer large = payload_of(300'000, 1);
    for (const std::size_t most_of_one : {1000u, 70'000u, 300'000u})
        for (const unsigned in_arena : {0u, 1u, 2u, 10u, 15u}) {
            CAPTURE(most_of_one, in_arena);
            byte_buffer stream = stream_of({3});
            append_in_parts(stream, {reply_magic, reply_kind::value, 1, 1, 0}, large, most_of_one, in_arena);
            append(stream, {reply_magic, reply_kind::value, 2, 2, 40}, payload_of(40, 2));
            std::minstd_rand random{most_of_one + in_arena};
            for (int round = 0; round < 10; ++round) {
                reader r;
                r.shared.bytes = large;
                if (round >= 5) {
                    r.maker = &test::plain_block::make;
                    r.before_value = round % 2 == 0 ? 0 : sizeof(item_usage);
                }
                for (byte_view left = stream; !left.empty();) {
                    const std::size_t n = std::min<std::size_t>(left.size(), 1 + random() % (round % 5 < 3 ? 64 : 100'000));
                    REQUIRE(r.receive(left.first(n)) == nullptr);
                    left = left.subspan(n);
                }
                r.check({3, large.size(), 40});
                CHECK(r.in_blocks == (round < 5 ? 0 : 1));
                CHECK(r.parser.position() == stream.size());
                if (in_arena == 15)
                    CHECK(r.shared.read_to == 8 * large.size());
            }
        }
}

TEST_CASE("a part that lies is told before anything is read for it", "[reply_parser][F66][F68]")
{
    struct row {
        const char* name;
        std::vector<std::uint64_t> words;
        std::size_t arena;
    };
    const row rows[] = {
        {"nothing", {0}, 1000},
        {"more than the reply", {101}, 1000},
        {"far more", {is_large - 1}, 1000},
        {"nothing, in the arena", {is_large, 0}, 1000},
        {"more than the reply, in the arena", {is_large | 101, 0}, 1000},
        {"beyond the arena's end", {is_large | 100, 901}, 1000},
        {"beyond the arena's end, from far behind it", {is_large | 100, 999'999'901}, 1000},
        {"larger than the arena", {is_large | 100, 0}, 99},
        {"there is no arena", {is_large | 100, 0}, 0},
    };
    for (const row& r : rows) {
        CAPTURE(r.name);
        byte_buffer stream = stream_of({3});
        append(stream, {reply_magic, reply_kind::value, 0, 1, 100 | is_large}, {});
        for (const std::uint64_t word : r.words) {
            stream.resize(stream.size() + sizeof word);
            store(stream.data() + stream.size() - sizeof word, word);
        }
        for (const std::size_t piece : {std::size_t{1}, stream.size()}) {
            reader parser;
            parser.shared.bytes.resize(r.arena);
            const char* wrong = nullptr;
            for (std::size_t at = 0; at < stream.size() && !wrong; at += piece)
                wrong = parser.feed(byte_view{stream}.subspan(at, piece));
            CHECK(wrong != nullptr);
            CHECK(parser.got.size() == 1);
            CHECK(parser.shared.read_to == 0);
        }
    }
}

TEST_CASE("a part of a reply is nothing", "[reply_parser][F6]")
{
    const byte_buffer stream = stream_of({100});
    for (std::size_t size = 0; size < stream.size(); ++size) {
        reader r;
        CHECK(r.feed(byte_view{stream}.first(size)) == nullptr);
        CHECK(r.got.empty());
    }
}

TEST_CASE("a header that lies is told before anything is allocated for it", "[reply_parser][F66][F67][F68][F70]")
{
    struct row {
        const char* name;
        reply_header header;
    };
    const reply_header good{reply_magic, reply_kind::value, 0, 1, 4};
    const auto with = [&](auto change) {
        reply_header h = good;
        change(h);
        return h;
    };
    const row rows[] = {
        {"magic", with([](auto& h) { h.magic ^= 1; })},
        {"kind 0", with([](auto& h) { h.kind = reply_kind{0}; })},
        {"kind 7", with([](auto& h) { h.kind = reply_kind{7}; })},
        {"kind 255", with([](auto& h) { h.kind = reply_kind{255}; })},
        {"past", with([](auto& h) { h.sequence = 0; })},
        {"future", with([](auto& h) { h.sequence = 2; })},
        {"one too long", with([](auto& h) { h.size = most + 1; })},
        {"2^31", with([](auto& h) { h.size = std::uint64_t{1} << 31; })},
        {"2^63", with([](auto& h) { h.size = std::uint64_t{1} << 63; })},
        {"2^64 - 1", with([](auto& h) { h.size = ~std::uint64_t{0}; })},
        {"2^64 - 16", with([](auto& h) { h.size = ~std::uint64_t{0} - 15; })},
        {"ready, and more", with([](auto& h) { h.kind = reply_kind::ready, h.size = sizeof(ready_note) + 1; })},
        {"a long report", with([](auto& h) { h.kind = reply_kind::threw, h.size = max_report + 1; })},
    };
    const byte_buffer first = stream_of({3});
    for (const row& r : rows) {
        CAPTURE(r.name);
        byte_buffer stream = first;
        append(stream, r.header, payload_of(4, 0));
        reader whole;
        CHECK(whole.feed(stream) != nullptr);
        CHECK(whole.got.size() == 1);

        reader bytes;
        const char* wrong = nullptr;
        for (std::size_t i = 0; i < stream.size() && !wrong; ++i)
            wrong = bytes.feed(byte_view{stream}.subspan(i, 1));
        CHECK(wrong != nullptr);
        CHECK(bytes.got.size() == 1);
        CHECK(bytes.parser.position() <= first.size() + sizeof(reply_header));
    }
}

TEST_CASE("memory grows with the bytes that came, not with those that were announced", "[reply_parser][F68]")
{
    reader r;
    r.max_result = std::uint64_t{1} << 40;
    byte_buffer stream;
    append(stream, {reply_magic, reply_kind::value, 0, 0, std::uint64_t{1} << 40}, {});
    REQUIRE(r.feed(stream) == nullptr);
    std::size_t held = sizeof(reply_header);
    while (held < 4 * most) {
        const auto rest = r.parser.large_rest();
        REQUIRE_FALSE(rest.empty());
        REQUIRE(held + rest.size() <= 2 * held + reply_parser::large);
        std::fill(rest.begin(), rest.end(), std::byte{});
        held += rest.size();
        r.parser.got(rest.size());
    }
}

TEST_CASE("whoever takes replies may stop between two of them", "[reply_parser]")
{
    reader r;
    r.stop_after = 2;
    CHECK(r.feed(stream_of({1, 2, 3})) == nullptr);
    CHECK(r.got.size() == 2);
}

TEST_CASE("values of one size are taken together, as many as may be, and what lies behind them is told all the same", "[reply_parser]")
{
    const std::vector<std::size_t> sizes{8, 8, 8, 8, 8, 4, 4, 8};
    const byte_buffer good = stream_of(sizes);
    reader r;
    CHECK(r.feed(good) == nullptr);
    CHECK(r.longest_run == r.at_once);
    r.check(sizes);

    reader all;
    all.at_once = 100;
    CHECK(all.feed(good) == nullptr);
    CHECK(all.longest_run == 5);
    all.check(sizes);

    const std::size_t stride = sizeof(reply_header) + 8;
    for (std::size_t byte = 0; byte < sizeof(reply_header); ++byte) {
        if (byte == offsetof(reply_header, ran))
            continue;
        CAPTURE(byte);
        byte_buffer bad = good;
        bad[2 * stride + byte] ^= std::byte{0x80};
        const bool only_longer = byte == offsetof(reply_header, size) || byte == offsetof(reply_header, size) + 1;
        reader until;
        CHECK((until.feed(bad) == nullptr) == only_longer); // then the rest of it has not come
        CHECK(until.got.size() == 2);
    }
}

TEST_CASE("a report between values is none of them", "[reply_parser]")
{
    byte_buffer stream = stream_of({8, 8});
    append(stream, {reply_magic, reply_kind::threw, 2, 2, 8}, payload_of(8, 2));
    append(stream, {reply_magic, reply_kind::value, 3, 3, 8}, payload_of(8, 3));
    reader r;
    CHECK(r.feed(stream) == nullptr);
    CHECK(r.longest_run == 2);
    r.check({8, 8, 8, 8});
}
