// The worker's loop alone, through real pipes: what it reads, what it writes, what it says in its page.

#include "worker.hpp" // first: it refuses to come after Asio

#include "support/faults.hpp"

#include "frame.hpp"
#include "process.hpp"
#include "reply_parser.hpp"

#include <optional>
#include <stdexcept>
#include <utility>

namespace {

using namespace cofork::detail;

/// A worker, and the ends that a parent would hold.
class rig {
public:
    explicit rig(state_maker* state = nullptr)
    {
        jobs_ = make_pipe();
        results_ = make_pipe();
        worker_.emplace([&] {
            jobs_.write.reset();
            results_.read.reset();
            worker_main({jobs_.read.get(), results_.write.get(), &*page_, {nullptr, state}, {}});
        });
        jobs_.read.reset();
        results_.write.reset();
        if (!state)
            REQUIRE(receive().header.kind == reply_kind::ready);
    }

    cofork::detail::page& page() { return *page_; }
    test::helper_process& process() { return *worker_; }

    void send(const job_header& header, const std::vector<byte_buffer>& items, byte_view captures = {})
    {
        byte_buffer bytes(sizeof header);
        store(bytes.data(), header);
        bytes.insert(bytes.end(), captures.begin(), captures.end());
        for (const byte_buffer& item : items) {
            const std::size_t at = bytes.size();
            bytes.resize(at + sizeof(std::uint64_t));
            store<std::uint64_t>(bytes.data() + at, item.size());
            bytes.insert(bytes.end(), item.begin(), item.end());
        }
        REQUIRE(write_all(jobs_.write.get(), bytes.data(), bytes.size()));
    }

    struct reply {
        reply_header header;
        byte_buffer payload;
    };
    reply receive()
    {
        reply r{};
        byte_buffer header(sizeof(reply_header));
        REQUIRE(read_all(results_.read.get(), header.data(), header.size()));
        r.header = load<reply_header>(header.data());
        REQUIRE(wrong_with(r.header, r.header.sequence, 1 << 20) == nullptr);
        r.payload.resize(r.header.size);
        REQUIRE(read_all(results_.read.get(), r.payload.data(), r.payload.size()));
        return r;
    }
    bool ended()
    {
        std::byte b;
        return !read_all(results_.read.get(), &b, 1);
    }
    void hang_up() { jobs_.write.reset(); }

private:
    test::shared<cofork::detail::page> page_;
    pipe_ends jobs_, results_;
    std::optional<test::helper_process> worker_;
};

/// Gives the item back, with the captures in front; throws where the item begins with '!', and runs out of its limit
/// where it begins with '+'.
void echo(void*, byte_view captures, byte_view item, cofork::encoder& result)
{
    const char first = item.empty() ? '\0' : static_cast<char>(item[0]);
    if (first == '!')
        throw std::runtime_error{"as asked"};
    if (first == '+')
        result.bytes(std::string(1000, '+').data(), 1000);
    result.bytes(captures.data(), captures.size());
    result.bytes(item.data(), item.size());
}

byte_buffer bytes_of(std::string_view text)
{
    const auto* const from = reinterpret_cast<const std::byte*>(text.data());
    return {from, from + text.size()};
}

job_header header_for(std::uint32_t count, std::uint32_t epoch = 0)
{
    return {job_magic, epoch, count, 0, 0, 0, 0, reinterpret_cast<std::uint64_t>(&echo), 0, 500'000, 500, 0};
}

} // namespace

TEST_CASE("a worker answers each item in order, and counts in its page", "[worker]")
{
    const test::leaves_nothing nothing;
    rig r;
    for (std::uint32_t batch = 0; batch < 3; ++batch) {
        r.send(header_for(4), {bytes_of("a"), bytes_of(""), bytes_of("!"), bytes_of("+")});
        for (std::uint32_t i = 0; i < 4; ++i) {
            const auto reply = r.receive();
            CHECK(reply.header.sequence == 4 * batch + i);
            CHECK(reply.header.kind == (i == 2 ? reply_kind::threw : i == 3 ? reply_kind::limit : reply_kind::value));
            if (i == 0)
                CHECK(reply.payload == bytes_of("a"));
            if (i == 1)
                CHECK(reply.payload.empty());
        }
        CHECK(r.page().started == 4 * (batch + 1));
        CHECK(r.page().finished == 4 * (batch + 1));
        CHECK(r.page().pid != 0);
    }
    r.hang_up();
    CHECK(r.ended());
    CHECK(r.process().status() == 0);
}

TEST_CASE("captures go in front of each call, and stay for the whole batch", "[worker]")
{
    const test::leaves_nothing nothing;
    rig r;
    job_header header = header_for(2);
    header.captures = 3;
    r.send(header, {bytes_of("x"), bytes_of("y")}, bytes_of("abc"));
    CHECK(r.receive().payload == bytes_of("abcx"));
    CHECK(r.receive().payload == bytes_of("abcy"));
}

TEST_CASE("items that were taken back are skipped, those of the new epoch are run", "[worker]")
{
    const test::leaves_nothing nothing;
    rig r;
    r.page().claim = make_claim(1, 0);
    r.send(header_for(3, 0), {bytes_of("old"), byte_buffer(200'000), bytes_of("old")});
    r.send(header_for(1, 1), {bytes_of("new")});
    const auto reply = r.receive();
    CHECK(reply.header.sequence == 0);
    CHECK(reply.payload == bytes_of("new"));
    CHECK(r.page().started == 1);
}

TEST_CASE("an item that is still arriving has not started", "[worker][F4]")
{
    const test::leaves_nothing nothing;
    test::shared<cofork::detail::page> page;
    pipe_ends jobs = make_pipe();
    pipe_ends results = make_pipe();
    test::helper_process worker{[&] {
        jobs.write.reset();
        results.read.reset();
        worker_main({jobs.read.get(), results.write.get(), &*page, {}, {}});
    }};
    jobs.read.reset();
    results.write.reset();
    byte_buffer part(sizeof(job_header) + sizeof(std::uint64_t) + 9);
    store(part.data(), header_for(1));
    store<std::uint64_t>(part.data() + sizeof(job_header), 10);
    REQUIRE(write_all(jobs.write.get(), part.data(), part.size()));
    CHECK(test::eventually([&] { return page->pid != 0 && test::state_of(worker.pid()) == 'S'; }));
    CHECK(page->started == 0);
    jobs.write.reset(); // never comes
    CHECK(worker.status() == 0);
    CHECK(page->started == 0);
}

TEST_CASE("a finished result is in the page before it is written", "[worker][F5]")
{
    const test::leaves_nothing nothing;
    rig r;
    const auto slow = [](void*, byte_view, byte_view item, cofork::encoder& result) {
        if (!item.empty())
            test::hang();
        result.value(42);
    };
    job_header header = header_for(2);
    header.entry = reinterpret_cast<std::uint64_t>(static_cast<entry>(slow));
    r.send(header, {{}, bytes_of("hang")});
    REQUIRE(test::eventually([&] { return r.page().started == 2; }));
    // Written or not yet: its bytes are in one place or the other.
    const auto filled = r.page().filled.load();
    CHECK(r.page().flushed + filled == sizeof(reply_header) + sizeof(ready_note) + sizeof(reply_header) + sizeof(int));
    if (filled > 0)
        CHECK(load<reply_header>(r.page().out).size == sizeof(int));
}

TEST_CASE("bytes that are no job end the worker", "[worker]")
{
    const test::leaves_nothing nothing;
    rig r;
    job_header header = header_for(1);
    header.magic ^= 1;
    r.send(header, {});
    CHECK(r.ended());
    CHECK(WEXITSTATUS(r.process().status()) == 1);
}

TEST_CASE("a worker whose state cannot be made says so and ends", "[worker]")
{
    const test::leaves_nothing nothing;
    struct broken final : state_maker {
        void* make() override { throw std::runtime_error{"no database"}; }
        const std::type_info& type() const noexcept override { return typeid(int); }
    } state;
    rig r{&state};
    const auto reply = r.receive();
    CHECK(reply.header.kind == reply_kind::unfit);
    const auto* const text = reinterpret_cast<const char*>(reply.payload.data());
    CHECK_THAT((std::string{text, reply.payload.size()}), Catch::Matchers::ContainsSubstring("no database"));
    CHECK(r.ended());
    CHECK(WEXITSTATUS(r.process().status()) == 1);
    CHECK(r.page().pid == 0);
}
