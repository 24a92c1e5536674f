// What is the ring's alone: writing where nobody reads, no memory of it in a child, no byte lost where it is forbidden.

#include "support/asio_backend.hpp"
#include "support/catch.hpp"
#include "support/line.hpp"
#include "support/seccomp.hpp"

#include "channel.hpp"

#include <cofork/transport.hpp>

#include <asio/error.hpp>
#include <asio/io_context.hpp>

#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

using cofork::transport;
using cofork::transport_kind;
using cofork::detail::make_pipe;
using test::bytes;
using test::line;
using test::listener;
using test::random_bytes;
using test::round_trip;
using test::runs_out;
using test::wish;

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
