// Large items and results on the worker's side: parts in the arena, parts in the pipe.

#include "support/worker_rig.hpp" // first: the worker refuses to come after Asio

#include <algorithm>
#include <atomic>
#include <memory>

namespace {

using namespace cofork::detail;
using test::bytes_of;
using test::header_for;
using test::rig;

/// The parts of one large item, of which each is in the pipe, or in the arena at a position.
class parts {
public:
    explicit parts(const byte_buffer& item) : item_{item} { say(item.size() | is_large); }

    void in_pipe(std::size_t size)
    {
        say(size);
        bytes.insert(bytes.end(), next(), next() + static_cast<std::ptrdiff_t>(size));
        at_ += size;
    }
    void in_arena(rig& r, std::uint64_t position, std::size_t size)
    {
        say(size | is_large);
        say(position);
        std::copy_n(next(), size, r.arena().items + position % sizeof r.arena().items);
        at_ += size;
    }

    byte_buffer bytes;

private:
    byte_buffer::const_iterator next() const { return item_.begin() + static_cast<std::ptrdiff_t>(at_); }
    void say(std::uint64_t word)
    {
        bytes.resize(bytes.size() + sizeof word);
        store(bytes.data() + bytes.size() - sizeof word, word);
    }

    const byte_buffer& item_;
    std::size_t at_ = 0;
};

byte_buffer letters(std::size_t size)
{
    byte_buffer all(size);
    for (std::size_t i = 0; i < size; ++i)
        all[i] = static_cast<std::byte>(i * 31 + i / 251);
    return all;
}

job_header header_for_large(std::uint32_t count, std::uint32_t epoch = 0)
{
    job_header header = header_for(count, epoch);
    header.max_result = std::uint64_t{1} << 30;
    return header;
}

} // namespace

TEST_CASE("a large item is put together from its parts, and its place in the arena given back", "[worker]")
{
    const test::leaves_nothing nothing;
    const entry* const code = GENERATE(&test::echo_code, &test::block_code);
    CAPTURE(code == &test::block_code);
    rig r;
    constexpr std::size_t whole = sizeof(arena::items);
    job_header header = header_for_large(1);
    header.entry = reinterpret_cast<std::uint64_t>(code);
    const auto run = [&](const byte_buffer& item, auto put) {
        parts sent{item};
        put(sent);
        r.send(header, {});
        r.send(sent.bytes);
        CHECK(r.receive_all(1)[0] == item);
    };
    const byte_buffer item = letters(300'000);
    SECTION("in one piece")
    {
        run(item, [&](parts& p) { p.in_arena(r, whole, 300'000); });
        CHECK(r.page().taken == whole + 300'000);
    }
    SECTION("in pieces, one behind the other")
    {
        run(item, [&](parts& p) { p.in_arena(r, 64, 100'000), p.in_arena(r, 100'064, 200'000); });
        CHECK(r.page().taken == 300'064);
    }
    SECTION("in pieces, round the end")
    {
        run(item, [&](parts& p) { p.in_arena(r, whole - 100'000, 100'000), p.in_arena(r, whole, 200'000); });
        CHECK(r.page().taken == whole + 200'000);
    }
    SECTION("in pieces with gaps")
    {
        run(item, [&](parts& p) { p.in_arena(r, 0, 100'000), p.in_arena(r, 128'000, 200'000); });
        CHECK(r.page().taken == 328'000);
    }
    SECTION("in the pipe")
    {
        run(item, [&](parts& p) { p.in_pipe(1), p.in_pipe(199'999), p.in_pipe(100'000); });
        CHECK(r.page().taken == 0);
    }
    SECTION("here and there")
    {
        run(item, [&](parts& p) { p.in_arena(r, 0, 50'000), p.in_pipe(100'000), p.in_arena(r, 50'000, 150'000); });
        run(item, [&](parts& p) { p.in_pipe(100'000), p.in_arena(r, 200'000, 100'000), p.in_pipe(100'000); });
        CHECK(r.page().taken == 300'000);
    }
    SECTION("larger than the arena")
    {
        const byte_buffer huge = letters(3 * whole);
        parts sent{huge};
        r.send(header, {});
        for (std::uint64_t at = 0; at < huge.size(); at += 1 << 20) {
            REQUIRE(test::eventually([&] { return at - r.page().taken <= whole - (1 << 20); })); // before all of it is there
            sent.in_arena(r, at, 1 << 20);
            r.send(sent.bytes);
            sent.bytes.clear();
        }
        CHECK(r.receive_all(1)[0] == huge);
    }
    CHECK(r.page().started == r.page().finished);
}

TEST_CASE("a large item that was taken back is skipped, wherever its parts are", "[worker]")
{
    const test::leaves_nothing nothing;
    rig r;
    const byte_buffer item = letters(300'000);
    parts sent{item};
    sent.in_pipe(70'000);
    sent.in_arena(r, 0, 130'000);
    sent.in_pipe(100'000);
    r.page().claim = make_claim(1, 0);
    r.send(header_for_large(2, 0), {});
    r.send(sent.bytes);
    r.send(sent.bytes);
    r.send(header_for(1, 1), {bytes_of("new")});
    CHECK(r.receive().payload == bytes_of("new"));
    CHECK(r.page().started == 1);
    CHECK(r.page().taken == 130'000);
}

namespace {

std::atomic<int>* alive = nullptr;

/// Says that it is there.
struct counted_block final : test::plain_block {
    counted_block() { ++*alive; }
    ~counted_block() override { --*alive; }
    static std::unique_ptr<arriving_block> make() { return std::make_unique<counted_block>(); }
};

constexpr entry counted_code{&test::echo_block, &counted_block::make};

} // namespace

// It kept all of it for as long as it had nothing else to do.
TEST_CASE("a large item that is taken back while it arrives is let go", "[worker]")
{
    const test::leaves_nothing nothing;
    const test::shared_at<alive> memory;
    rig r;
    const byte_buffer item = letters(300'000);
    parts sent{item};
    sent.in_pipe(70'000);
    job_header header = header_for_large(1);
    header.entry = reinterpret_cast<std::uint64_t>(&counted_code);
    r.send(header, {});
    r.send(sent.bytes);
    REQUIRE(test::eventually([] { return *alive == 1; }));
    r.page().claim = make_claim(1, 0);
    sent.bytes.clear();
    sent.in_arena(r, 0, 230'000);
    r.send(sent.bytes);
    CHECK(test::eventually([] { return *alive == 0; }));
    CHECK(r.page().started == 0);
    CHECK(r.page().taken == 230'000);
}

TEST_CASE("a large result arrives, whether or not the parent reads while it is written", "[worker]")
{
    const test::leaves_nothing nothing;
    rig r;
    std::uint32_t runs = 0;
    for (const std::size_t size : {std::size_t{40'000}, std::size_t{70'000}, sizeof(arena::results), std::size_t{9} << 20}) {
        CAPTURE(size);
        const byte_buffer item = letters(size);
        parts sent{item};
        sent.in_pipe(size);
        r.send(header_for_large(1), {});
        r.send(sent.bytes);
        ++runs;
        // It has no more room and sleeps in the pipe, or for the next item.
        REQUIRE(test::eventually([&] { return r.page().finished == runs && test::state_of(r.process().pid()) == 'S'; }));
        CHECK(r.receive_all(1)[0] == item);
        CHECK((r.page().received > 0) == (size > 40'000));
    }
}
