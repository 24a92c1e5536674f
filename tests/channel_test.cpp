// What the two ways of the bytes have in common. Each test runs on both, whatever COFORK_TRANSPORT says outside.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/line.hpp"
#include "support/run.hpp"

#include "channel.hpp"

#include <asio/error.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/require.hpp>
#include <asio/strand.hpp>

#include <barrier>
#include <chrono>
#include <cstddef>
#include <deque>
#include <future>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using cofork::detail::channel;
using cofork::detail::owned_fd;
using test::bytes;
using test::each_transport;
using test::line;
using test::listener;
using test::long_enough;
using test::random_bytes;
using test::round_trip;
using test::runs_out;
using test::wish;
using namespace std::chrono_literals;

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
