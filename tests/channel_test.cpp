// What the two ways of the bytes have in common. Each test runs on both, whatever COFORK_TRANSPORT says outside.

#include "support/asio_backend.hpp"
#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/seccomp.hpp"

#include "channel.hpp"

#include <cofork/transport.hpp>

#include <asio/error.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/require.hpp>
#include <asio/strand.hpp>

#include <sys/uio.h>

#include <algorithm>
#include <barrier>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

using cofork::transport;
using cofork::transport_kind;
using cofork::detail::channel;
using cofork::detail::channel_user;
using cofork::detail::make_pipe;
using cofork::detail::owned_fd;
using namespace std::chrono_literals;

namespace {

using bytes = std::vector<std::byte>;

constexpr auto long_enough = 30s; // ends a hang, measures nothing

/// Wishes for a transport for as long as it lives; a context asks at its first channel.
class wish {
public:
    explicit wish(transport_kind kind)
    {
        if (const char* const set = std::getenv("COFORK_TRANSPORT"))
            before_ = set;
        ::setenv("COFORK_TRANSPORT", to_string(kind), 1);
    }
    ~wish() { ::setenv("COFORK_TRANSPORT", before_.c_str(), 1); }
    wish(const wish&) = delete;
    wish& operator=(const wish&) = delete;

private:
    std::string before_;
};

transport_kind each_transport()
{
    const auto kind = GENERATE(transport_kind::ring, transport_kind::reactor);
    UNSCOPED_INFO("by the " << to_string(kind));
    return kind;
}

/// Writes down what it is told, and hands it on.
struct listener final : channel_user, std::enable_shared_from_this<listener> {
    std::function<void(std::error_code, std::size_t)> when_read = [](std::error_code, std::size_t) {};
    std::function<void(std::error_code)> when_written = [](std::error_code) {};
    int reads = 0;
    int writes = 0;
    std::error_code read_error;
    std::error_code write_error;
    std::size_t got = 0;
    bytes buffer = bytes(1 << 16); // lives as long as we do

    void on_read(std::error_code ec, std::size_t n) noexcept override
    {
        ++reads;
        read_error = ec;
        got = n;
        when_read(ec, n);
    }
    void on_written(std::error_code ec) noexcept override
    {
        ++writes;
        write_error = ec;
        when_written(ec);
    }
};

/// A channel, and the other ends of its pipes.
struct line {
    owned_fd to_us;   // what is written here is read from the channel
    owned_fd from_us; // what is written to the channel is read here
    std::shared_ptr<channel> ours;
    std::shared_ptr<listener> hears = std::make_shared<listener>();

    explicit line(const asio::any_io_executor& ex)
    {
        auto in = make_pipe();
        auto out = make_pipe();
        to_us = std::move(in.write);
        from_us = std::move(out.read);
        ours = channel::make(ex, std::move(in.read), std::move(out.write));
    }
    void read() { ours->read(hears->buffer, hears); }
    void tell(const char* text) const
    {
        const std::string_view all{text};
        if (::write(to_us.get(), all.data(), all.size()) != static_cast<ssize_t>(all.size()))
            std::abort();
    }
    std::string heard() const { return {reinterpret_cast<const char*>(hears->buffer.data()), hears->got}; }
};

/// Runs the context until it has no work, or much too long; false then.
bool runs_out(asio::io_context& context)
{
    context.restart();
    const auto end = std::chrono::steady_clock::now() + long_enough;
    while (!context.stopped() && std::chrono::steady_clock::now() < end)
        context.run_one_until(end);
    return context.stopped();
}

bytes random_bytes(std::size_t size, unsigned seed)
{
    std::mt19937 generator{seed};
    bytes all(size);
    std::generate(all.begin(), all.end(), [&] { return static_cast<std::byte>(generator()); });
    return all;
}

/// Reads to the end of file, in pieces of all sizes, and sends everything back.
void echo(owned_fd from, owned_fd to)
{
    std::mt19937 generator{7};
    bytes buffer(100'000);
    while (true) {
        const ssize_t got = ::read(from.get(), buffer.data(), 1 + generator() % buffer.size());
        if (got <= 0)
            return;
        for (ssize_t put = 0, n = 0; put < got; put += n) {
            n = ::write(to.get(), buffer.data() + put, static_cast<std::size_t>(got - put));
            if (n <= 0)
                return;
        }
    }
}

/// Sends bytes to an echo, and closes the line when they are all back. Both pipes are full again and again, and at the
/// same time: the echo writes while we write.
class round_trip {
public:
    round_trip(line& l, bytes sent)
        : line_{l}, sent_{std::move(sent)}, other_{echo, std::move(l.from_us), std::move(l.to_us)}
    {
        l.hears->when_read = [this](std::error_code, std::size_t n) {
            const auto from = line_.hears->buffer.begin();
            back_.insert(back_.end(), from, from + static_cast<std::ptrdiff_t>(n));
            if (n > 0 && back_.size() < sent_.size())
                line_.read();
            end();
        };
        l.hears->when_written = [this](std::error_code) { end(); };
        if (!l.ours->reading() && !sent_.empty())
            l.read();
        l.ours->write(sent_, l.hears);
    }
    ~round_trip()
    {
        if (ended_)
            other_.join();
        else
            other_.detach(); // the test has failed; the echo has all that it needs
    }
    round_trip(const round_trip&) = delete;
    round_trip& operator=(const round_trip&) = delete;

    bool right() const { return back_ == sent_ && line_.hears->writes == 1 && !line_.hears->write_error; }

private:
    void end()
    {
        if (line_.ours->reading() || line_.ours->writing())
            return;
        line_.ours->close();
        ended_ = true;
    }

    line& line_;
    bytes sent_;
    bytes back_;
    bool ended_ = false;
    std::thread other_;
};

} // namespace

TEST_CASE("what is written comes back byte for byte, whatever its size", "[channel]")
{
    const test::leaves_nothing guard;
    const wish by{each_transport()};
    asio::io_context context;
    for (const std::size_t size : {0u, 1u, 4095u, 65536u, 65537u, 1u << 20}) {
        line l{context.get_executor()};
        const round_trip trip{l, random_bytes(size, 1)};
        REQUIRE(runs_out(context));
        CHECK(trip.right());
    }
}

TEST_CASE("a callback never runs inside the call that asks for it", "[channel]")
{
    const wish by{each_transport()};
    asio::io_context context;
    line l{context.get_executor()};
    l.tell("ready before it is asked for");
    const bytes none;
    const bytes one(1);
    asio::post(context, [&] {
        l.read();
        l.ours->write(none, l.hears);
        CHECK(l.hears->reads + l.hears->writes == 0);
    });
    REQUIRE(runs_out(context));
    CHECK(l.heard() == "ready before it is asked for");
    CHECK(l.hears->writes == 1);
    asio::post(context, [&] {
        l.ours->write(one, l.hears);
        l.ours->cancel();
        CHECK(l.hears->writes == 1);
    });
    REQUIRE(runs_out(context));
    CHECK(l.hears->writes == 2);
}

TEST_CASE("the end of file is no error and no bytes", "[channel]")
{
    const wish by{each_transport()};
    asio::io_context context;
    line l{context.get_executor()};
    l.tell("last words");
    l.to_us.reset();
    l.read();
    REQUIRE(runs_out(context));
    CHECK(l.heard() == "last words");
    l.read();
    REQUIRE(runs_out(context));
    CHECK(!l.hears->read_error);
    CHECK(l.hears->got == 0);
    CHECK(l.hears->reads == 2);
}

TEST_CASE("a write to a pipe without a reader is EPIPE, and no signal where the kernel can do without", "[channel]")
{
    const std::string complaint = test::complaint_of_child([]() -> std::string {
        const wish by{transport_kind::ring};
        asio::io_context context;
        if (transport(context) != transport_kind::ring)
            return "";
        const auto probe = make_pipe();
        bytes one(1);
        const iovec vector{one.data(), one.size()};
        if (::pwritev2(probe.write.get(), &vector, 1, -1, 0x100) < 0)
            return ""; // RWF_NOSIGNAL is of Linux 6.18
        line l{context.get_executor()};
        l.from_us.reset();
        l.ours->write(one, l.hears);
        if (!runs_out(context))
            return "hangs";
        return l.hears->write_error == asio::error::broken_pipe ? "" : "gave " + l.hears->write_error.message();
    });
    CHECK(complaint == "");
}

TEST_CASE("cancel ends what is pending, and the channel is good for more", "[channel][cancel]")
{
    const test::leaves_nothing guard;
    const wish by{each_transport()};
    asio::io_context context;
    line l{context.get_executor()};
    const bytes large(1 << 20);
    l.read();
    l.ours->write(large, l.hears); // more than a pipe takes
    context.poll();
    REQUIRE(l.ours->reading());
    REQUIRE(l.ours->writing());
    l.ours->cancel();
    REQUIRE(runs_out(context));
    CHECK(l.hears->read_error == asio::error::operation_aborted);
    CHECK(l.hears->write_error == asio::error::operation_aborted);
    CHECK_FALSE(l.ours->reading());
    CHECK_FALSE(l.ours->writing());

    l.tell("still here");
    l.read();
    REQUIRE(runs_out(context));
    CHECK(l.heard() == "still here");
    CHECK(l.hears->reads == 2);
    l.ours->close();
}

TEST_CASE("a read that races with its cancellation ends once, and no byte is lost", "[channel][cancel]")
{
    const wish by{each_transport()};
    asio::io_context context;
    for (int round = 0; round < 300; ++round) {
        line l{context.get_executor()};
        std::barrier start{2};
        std::thread other{[&] {
            start.arrive_and_wait();
            l.tell("x");
        }};
        l.read();
        context.poll();
        start.arrive_and_wait();
        l.ours->cancel();
        const bool ended = runs_out(context);
        other.join();
        REQUIRE(ended);
        REQUIRE(l.hears->reads == 1);
        std::size_t all = l.hears->got;
        CHECK((l.hears->read_error == asio::error::operation_aborted) == (all == 0));
        all += l.ours->read_now(l.hears->buffer);
        REQUIRE(all == 1);
    }
}

TEST_CASE("read_now takes what the pipe holds and never waits", "[channel]")
{
    const wish by{each_transport()};
    asio::io_context context;
    line l{context.get_executor()};
    CHECK(l.ours->read_now(l.hears->buffer) == 0);
    l.read(); // on the reactor the descriptor is another one from here on
    l.tell("one");
    REQUIRE(runs_out(context));
    CHECK(l.heard() == "one");
    CHECK(l.ours->read_now(l.hears->buffer) == 0);
    l.tell("two");
    CHECK(l.ours->read_now(std::span{l.hears->buffer}.first(2)) == 2);
    CHECK(l.ours->read_now(l.hears->buffer) == 1);
    l.to_us.reset();
    CHECK(l.ours->read_now(l.hears->buffer) == 0);
}

TEST_CASE("a context that ends drops the users of what is pending, uncalled", "[channel][shutdown]")
{
    const test::leaves_nothing guard;
    const auto kind = each_transport();
    const bool outlives = GENERATE(false, true);
    CAPTURE(outlives);
    const wish by{kind};
    std::weak_ptr<listener> user;
    std::shared_ptr<channel> left;
    std::vector<owned_fd> other_ends;
    int calls = 0;
    const bytes large(1 << 20);
    {
        asio::io_context context;
        line l{asio::make_strand(context)};
        user = l.hears;
        // As the owner's objects do: the user holds the channel.
        l.hears->when_read = [&calls, c = l.ours](std::error_code, std::size_t) { ++calls; };
        l.hears->when_written = [&calls, c = l.ours](std::error_code) { ++calls; };
        l.read();
        l.ours->write(large, l.hears);
        context.poll();
        l.tell("completes, but nobody comes to look"); // and the context ends with that
        REQUIRE(calls == 0);
        other_ends.push_back(std::move(l.to_us));
        other_ends.push_back(std::move(l.from_us));
        if (outlives)
            left = l.ours;
    }
    CHECK(calls == 0);
    CHECK(user.expired());
    if (left) {
        CHECK_FALSE(left->reading());
        left->cancel();
        left->close();
    }
}

TEST_CASE("a context that ends before a completion was handed out lets go of its user", "[channel][shutdown]")
{
    const test::leaves_nothing guard;
    const wish by{each_transport()};
    std::weak_ptr<listener> user;
    {
        asio::io_context context;
        const auto strand = asio::make_strand(context);
        line l{strand};
        user = l.hears;
        l.hears->when_read = [c = l.ours](std::error_code, std::size_t) {};
        std::promise<void> in_strand;
        std::promise<void> come_in;
        asio::post(strand, [&] {
            in_strand.set_value();
            come_in.get_future().wait();
        });
        l.read();
        std::thread other{[&] { context.run_one(); }};
        in_strand.get_future().wait();
        l.tell("now");
        context.run_one_for(long_enough); // finds it, and cannot hand it out
        come_in.set_value();
        other.join();
        CHECK(l.hears->reads == 0);
    }
    CHECK(user.expired());
}

TEST_CASE("the context runs out of work when nothing is pending, whatever executor the ring was lent", "[channel]")
{
    const wish by{each_transport()};
    asio::io_context context;
    {
        line l{asio::require(context.get_executor(), asio::execution::outstanding_work.tracked)};
        l.tell("x");
        l.read();
        context.run_one_for(long_enough);
        while (l.hears->reads == 0)
            context.run_one_for(long_enough);
    }
    CHECK(runs_out(context));
}

TEST_CASE("many channels on many threads", "[channel][threads]")
{
    const test::leaves_nothing guard;
    const wish by{each_transport()};
    asio::io_context context;
    std::deque<line> lines;
    std::deque<round_trip> trips;
    for (unsigned i = 0; i < 12; ++i) {
        line& l = lines.emplace_back(asio::make_strand(context));
        trips.emplace_back(l, random_bytes(300'000, i));
    }
    std::vector<std::thread> runners;
    for (int i = 0; i < 4; ++i)
        runners.emplace_back([&] { context.run_for(long_enough); });
    for (std::thread& each : runners)
        each.join();
    for (const round_trip& each : trips)
        CHECK(each.right());
}

TEST_CASE("a channel's busy strand does not keep others from their bytes", "[channel][threads]")
{
    const test::leaves_nothing guard;
    const wish by{each_transport()};
    asio::io_context context;
    const auto busy = asio::make_strand(context);
    line first{busy}; // of which the ring has its executor
    line second{asio::make_strand(context)};
    first.read();
    second.read();
    std::promise<void> read;
    second.hears->when_read = [&](std::error_code, std::size_t) { read.set_value(); };
    bool came = false;
    asio::post(busy, [&] {
        second.tell("let us go on");
        came = read.get_future().wait_for(5s) == std::future_status::ready;
        first.tell("x");
    });
    std::thread other{[&] { context.run_for(long_enough); }};
    context.run_for(long_enough);
    other.join();
    CHECK(came);
    CHECK(first.hears->reads == 1);
}

TEST_CASE("what a thread has started survives the thread", "[channel][threads]")
{
    const test::leaves_nothing guard;
    const wish by{each_transport()};
    asio::io_context context;
    line l{context.get_executor()};
    const bytes large = random_bytes(1 << 20, 5);
    std::optional<round_trip> trip;
    std::thread{[&] { // io_uring gives up a thread's requests when it ends
        l.read();
        context.poll();
    }}.join();
    std::thread{[&] {
        trip.emplace(l, large);
        context.poll();
    }}.join();
    REQUIRE(runs_out(context));
    CHECK(trip->right());
}

TEST_CASE("a forked child has no memory of the ring", "[channel][F78]")
{
    const auto mappings = [] {
        std::ifstream maps{"/proc/self/maps"};
        std::string line;
        int count = 0;
        while (std::getline(maps, line))
            count += line.find("[io_uring]") != std::string::npos;
        return count;
    };
    const wish by{transport_kind::ring};
    const int before = mappings();
    asio::io_context context;
    if (transport(context) != transport_kind::ring)
        SKIP("io_uring is refused here");
    REQUIRE(mappings() > before);
    CHECK(test::complaint_of_child([&] { return mappings() > before ? "it has" : ""; }) == "");
}

TEST_CASE("where io_uring is forbidden from the start the reactor carries the bytes", "[channel][seccomp][F47]")
{
    if (test::asio_waits_by_ring)
        SKIP("Asio itself needs io_uring here");
    const int error = GENERATE(EPERM, ENOSYS);
    const bool set_up_allowed = GENERATE(false, true);
    CAPTURE(error, set_up_allowed);
    const std::string complaint = test::complaint_of_child([&]() -> std::string {
        const wish by{transport_kind::ring};
        if (!test::forbid(set_up_allowed ? std::vector<long>{SYS_io_uring_enter}
                                         : std::vector<long>(test::io_uring_calls.begin(), test::io_uring_calls.end()),
                error))
            return "no filter";
        asio::io_context context;
        if (transport(context) != transport_kind::reactor)
            return "takes the ring";
        line l{context.get_executor()};
        const round_trip trip{l, random_bytes(300'000, 1)};
        return runs_out(context) && trip.right() ? "" : "bytes are lost";
    });
    CHECK(complaint == "");
}

TEST_CASE("where io_uring is forbidden to a running program the bytes go on", "[channel][seccomp][F47][F48]")
{
    if (test::asio_waits_by_ring)
        SKIP("Asio itself needs io_uring here");
    const std::string complaint = test::complaint_of_child([]() -> std::string {
        const wish by{transport_kind::ring};
        asio::io_context context;
        line l{context.get_executor()};
        l.read();
        context.poll();
        if (!test::forbid(test::io_uring_calls, EPERM))
            return "no filter";
        const round_trip trip{l, random_bytes(300'000, 1)}; // its first bytes come by the read that the ring has
        if (!runs_out(context) || !trip.right())
            return "bytes are lost";
        return transport(context) == transport_kind::reactor ? "" : "takes the ring";
    });
    CHECK(complaint == "");
}

TEST_CASE("cancel ends even what the ring cannot give back any more", "[channel][seccomp][cancel][F48]")
{
    if (test::asio_waits_by_ring)
        SKIP("Asio itself needs io_uring here");
    const bool completes = GENERATE(false, true);
    CAPTURE(completes);
    const std::string complaint = test::complaint_of_child([&]() -> std::string {
        const wish by{transport_kind::ring};
        std::weak_ptr<listener> user;
        {
            asio::io_context context;
            line l{context.get_executor()};
            user = l.hears;
            if (transport(context) != transport_kind::ring)
                return "";
            l.read();
            context.poll();
            if (!test::forbid(test::io_uring_calls, EPERM))
                return "no filter";
            l.ours->cancel();
            if (!runs_out(context))
                return "the context keeps waiting";
            if (l.hears->reads != 1 || l.hears->read_error != asio::error::operation_aborted)
                return "not cancelled";
            l.ours->close();
            l.hears.reset();
            if (user.expired())
                return "the kernel writes to memory that is gone";
            if (completes)
                l.tell("too late");
        }
        return completes && !user.expired() ? "the user is never let go" : "";
    });
    CHECK(complaint == "");
}

TEST_CASE("a context that ends while the ring is forbidden keeps what the kernel may write to", "[channel][seccomp][F48]")
{
    if (test::asio_waits_by_ring)
        SKIP("Asio itself needs io_uring here");
    const std::string complaint = test::complaint_of_child([]() -> std::string {
        const wish by{transport_kind::ring};
        std::weak_ptr<listener> user;
        std::optional<asio::io_context> context{std::in_place};
        line l{context->get_executor()};
        user = l.hears;
        if (transport(*context) != transport_kind::ring)
            return "";
        l.read();
        context->poll();
        if (!test::forbid(test::io_uring_calls, EPERM))
            return "no filter";
        l.hears.reset();
        context.reset();
        if (user.expired())
            return "the kernel writes to memory that is gone";
        return l.ours->reading() ? "still reading" : "";
    });
    CHECK(complaint == "");
}
