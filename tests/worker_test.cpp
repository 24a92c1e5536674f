// The worker's loop alone, through real pipes: what it reads, what it writes, what it says in its page.

#include "support/worker_rig.hpp" // first: the worker refuses to come after Asio

#include <stdexcept>
#include <utility>

namespace {

using namespace cofork::detail;
using test::bytes_of;
using test::header_for;
using test::rig;

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
    static const entry slow{
        [](void*, byte_view, const travelled& item, cofork::encoder& result) {
            if (!item.bytes.empty())
                test::hang();
            result.value(42);
        },
        nullptr};
    job_header header = header_for(2);
    header.entry = reinterpret_cast<std::uint64_t>(&slow);
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
