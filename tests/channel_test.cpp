// One pair of pipes, carried by the ring or by the reactor.

#include "channel.hpp"
#include "process.hpp"

#include <cofork/parallel.hpp>
#include <cofork/transport.hpp>
#include <cofork/wait.hpp>

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/seccomp.hpp"

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/strand.hpp>

#include <cerrno>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>

using namespace cofork::detail;

namespace {

/// Remembers what the channel said.
struct listener final : channel_user {
    int reads = 0;
    int writes = 0;
    std::error_code error;
    std::size_t bytes = 0;
    std::function<void()> then;

    void on_read(std::error_code ec, std::size_t n) noexcept override
    {
        ++reads;
        error = ec;
        bytes = n;
        if (then)
            then();
    }
    void on_written(std::error_code ec) noexcept override
    {
        ++writes;
        error = ec;
        if (then)
            then();
    }
};

/// A channel whose far ends are in our hands.
struct loose_ends {
    pipe_ends jobs = make_pipe();
    pipe_ends results = make_pipe();
    std::shared_ptr<channel> near;
    owned_fd far_read;
    owned_fd far_write;

    explicit loose_ends(const asio::any_io_executor& ex)
        : near{channel::make(ex, std::move(results.read), std::move(jobs.write))}, far_read{std::move(jobs.read)},
          far_write{std::move(results.write)}
    {
    }
};

/// Runs `body` in a fork; its return value, or the negated signal. For what cannot be undone in a process.
int in_a_fork(const std::function<int()>& body)
{
    const pid_t pid = ::fork();
    if (pid == 0)
        ::_exit(body());
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int square(int x)
{
    return x * x;
}

/// 0 when a call gives the right answer and is carried by `expected`.
int call_works(asio::io_context& context, cofork::transport_kind expected)
{
    std::vector<int> items(100);
    std::iota(items.begin(), items.end(), 0);
    int bad = 1;
    cofork::parallel(context.get_executor(), square, items, {.workers = 2}, [&](std::exception_ptr e, const std::vector<int>& all) {
        bad = !e && all.size() == items.size() && all[99] == 99 * 99 ? 0 : 2;
    });
    context.restart();
    context.run();
    return bad != 0 ? bad : cofork::transport(context) == expected ? 0 : 3;
}

} // namespace

TEST_CASE("a megabyte goes each way at once through full pipes", "[channel]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    loose_ends ends{context.get_executor()};
    // The far side, in a process: it echoes.
    const pid_t echo = ::fork();
    if (echo == 0) {
        close_others(std::array{std::min(ends.far_read.get(), ends.far_write.get()), std::max(ends.far_read.get(), ends.far_write.get())});
        std::vector<std::byte> some(3001);
        for (ssize_t n = 0; (n = ::read(ends.far_read.get(), some.data(), some.size())) > 0;)
            write_all(ends.far_write.get(), some.data(), static_cast<std::size_t>(n));
        ::_exit(0);
    }
    ends.far_write.reset();

    std::vector<std::byte> sent(1 << 20), got, part(10'000);
    for (std::size_t i = 0; i < sent.size(); ++i)
        sent[i] = static_cast<std::byte>(i * 2654435761u >> 13);
    const auto writer = std::make_shared<listener>();
    const auto reader = std::make_shared<listener>();
    reader->then = [&] {
        got.insert(got.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(reader->bytes));
        if (got.size() < sent.size() && reader->bytes > 0)
            ends.near->read(part, reader);
    };
    ends.near->write(sent, writer);
    ends.near->read(part, reader);
    context.run_for(std::chrono::seconds{30});
    CHECK(writer->writes == 1);
    CHECK_FALSE(writer->error);
    CHECK(got == sent);
    REQUIRE_FALSE(ends.near->reading());
    ends.far_read.reset();
    ends.near->close();
    ::waitpid(echo, nullptr, 0);
}

TEST_CASE("the end of the other side is an empty read", "[channel]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    loose_ends ends{context.get_executor()};
    std::vector<std::byte> part(10);
    const auto reader = std::make_shared<listener>();
    ends.near->read(part, reader);
    CHECK(reader->reads == 0);
    ends.far_write.reset();
    context.run_for(std::chrono::seconds{10});
    CHECK(reader->reads == 1);
    CHECK_FALSE(reader->error);
    CHECK(reader->bytes == 0);
}

TEST_CASE("a cancelled read and a cancelled write are told once each, and the context has no more work", "[channel][cancel]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    loose_ends ends{context.get_executor()};
    std::vector<std::byte> part(10), much(1 << 20);
    const auto reader = std::make_shared<listener>();
    const auto writer = std::make_shared<listener>();
    ends.near->read(part, reader);
    ends.near->write(much, writer);
    context.poll();
    CHECK(reader->reads == 0);
    CHECK(writer->writes == 0);
    ends.near->cancel();
    context.restart();
    context.run_for(std::chrono::seconds{10});
    CHECK(context.stopped());
    CHECK(reader->reads == 1);
    CHECK(reader->error == asio::error::operation_aborted);
    CHECK(writer->writes == 1);
    CHECK(writer->error == asio::error::operation_aborted);
}

TEST_CASE("a cancel that crosses a completion is told once", "[channel][cancel]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    for (int i = 0; i < 200; ++i) {
        loose_ends ends{context.get_executor()};
        std::vector<std::byte> part(10);
        const auto reader = std::make_shared<listener>();
        ends.near->read(part, reader);
        if (i % 2 == 0)
            context.poll();
        REQUIRE(write_all(ends.far_write.get(), part.data(), 4));
        ends.near->cancel();
        context.restart();
        context.run_for(std::chrono::seconds{10});
        REQUIRE(reader->reads == 1);
        if (reader->error)
            CHECK(ends.near->read_now(part) == 4); // nothing was lost
        else
            CHECK(reader->bytes == 4);
    }
}

TEST_CASE("what a pipe holds can be taken without waiting", "[channel]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    loose_ends ends{context.get_executor()};
    std::vector<std::byte> part(10);
    CHECK(ends.near->read_now(part) == 0);
    REQUIRE(write_all(ends.far_write.get(), part.data(), 7));
    CHECK(ends.near->read_now(part) == 7);
    CHECK(ends.near->read_now(part) == 0);
}

TEST_CASE("a context may be destroyed with reads and writes pending", "[channel]")
{
    test::leaves_nothing guard;
    std::vector<std::byte> part(10), much(1 << 20);
    std::weak_ptr<listener> gone;
    owned_fd reader; // outlives the write, as a link's copy does: no reader, and SIGPIPE would end this test
    {
        asio::io_context context;
        loose_ends ends{context.get_executor()};
        reader = std::move(ends.far_read);
        const auto user = std::make_shared<listener>();
        gone = user;
        ends.near->read(part, user);
        ends.near->write(much, user);
        context.poll();
    }
    CHECK(gone.expired());
}

TEST_CASE("many channels on a context that several threads run", "[channel][threads]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    struct one {
        asio::any_io_executor strand;
        loose_ends ends;
        std::vector<std::byte> part = std::vector<std::byte>(64);
        std::shared_ptr<listener> user = std::make_shared<listener>();
        int rounds = 0;
        explicit one(asio::any_io_executor ex) : strand{ex}, ends{ex} {}
    };
    std::vector<std::unique_ptr<one>> all;
    for (int i = 0; i < 8; ++i) {
        all.push_back(std::make_unique<one>(asio::any_io_executor{asio::make_strand(context)}));
        one& o = *all.back();
        o.user->then = [&o] {
            if (o.user->reads == 500)
                return;
            write_all(o.ends.far_write.get(), o.part.data(), 8);
            o.ends.near->read(o.part, o.user);
        };
        write_all(o.ends.far_write.get(), o.part.data(), 8);
        o.ends.near->read(o.part, o.user);
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
        threads.emplace_back([&] { context.run_for(std::chrono::seconds{30}); });
    for (std::thread& t : threads)
        t.join();
    for (const auto& o : all)
        CHECK(o->user->reads == 500);
}

TEST_CASE("a read outlives the thread that asked for it", "[channel][threads]")
{
    test::leaves_nothing guard;
    asio::io_context context;
    loose_ends ends{context.get_executor()};
    std::vector<std::byte> part(10);
    const auto reader = std::make_shared<listener>();
    std::thread{[&] {
        ends.near->read(part, reader);
        context.poll();
    }}.join();
    REQUIRE(write_all(ends.far_write.get(), part.data(), 3));
    context.restart();
    context.run_for(std::chrono::seconds{10});
    CHECK(reader->reads == 1);
    CHECK_FALSE(reader->error);
    CHECK(reader->bytes == 3);
}

TEST_CASE("a forked child has none of the ring's memory", "[channel][F78]")
{
    asio::io_context context;
    if (cofork::transport(context) != cofork::transport_kind::ring)
        return;
    CHECK(in_a_fork([] {
        std::ifstream maps{"/proc/self/maps"};
        for (std::string line; std::getline(maps, line);) {
            if (line.find("[io_uring]") != std::string::npos)
                return 1;
        }
        return 0;
    }) == 0);
}

TEST_CASE("the reactor carries the bytes where a filter forbids io_uring from the start", "[channel][F47]")
{
    test::leaves_nothing guard;
    const int error = GENERATE(EPERM, ENOSYS);
    CHECK(in_a_fork([error] {
        if (!test::forbid_io_uring(error))
            return 10;
        asio::io_context context;
        return call_works(context, cofork::transport_kind::reactor);
    }) == 0);
}

TEST_CASE("a filter that comes later loses nothing", "[channel][F47][F48]")
{
    test::leaves_nothing guard;
    const int error = GENERATE(EPERM, ENOSYS);
    CHECK(in_a_fork([error] {
        asio::io_context context;
        loose_ends ends{context.get_executor()};
        std::vector<std::byte> part(10);
        const auto reader = std::make_shared<listener>();
        ends.near->read(part, reader);
        context.poll();
        if (!test::forbid_io_uring(error))
            return 10;
        // The read that the ring has, a write that it refuses, a read after that, and a cancel that it cannot hear.
        const auto writer = std::make_shared<listener>();
        ends.near->write(part, writer);
        write_all(ends.far_write.get(), part.data(), 5);
        context.restart();
        context.run_for(std::chrono::seconds{10});
        if (reader->reads != 1 || reader->error || reader->bytes != 5)
            return 4;
        if (writer->writes != 1 || writer->error)
            return 5;
        ends.near->read(part, reader);
        write_all(ends.far_write.get(), part.data(), 6);
        context.restart();
        context.run_for(std::chrono::seconds{10});
        if (reader->reads != 2 || reader->bytes != 6)
            return 6;
        return call_works(context, cofork::transport_kind::reactor);
    }) == 0);
}

TEST_CASE("a read that the ring can no longer cancel is told as cancelled all the same", "[channel][cancel][F48]")
{
    test::leaves_nothing guard;
    CHECK(in_a_fork([] {
        asio::io_context context;
        loose_ends ends{context.get_executor()};
        std::vector<std::byte> part(10);
        const auto reader = std::make_shared<listener>();
        ends.near->read(part, reader);
        context.poll();
        if (!test::forbid_io_uring(EPERM))
            return 10;
        ends.near->cancel();
        context.restart();
        context.run_one_for(std::chrono::seconds{10});
        return reader->reads == 1 && reader->error == asio::error::operation_aborted ? 0 : 4;
    }) == 0);
}
