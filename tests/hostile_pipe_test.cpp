// Workers that write noise into their pipe, and workers that read nothing from it any more.

#include "support/faults.hpp"
#include "support/forged_reply.hpp"
#include "support/worker_side.hpp"

#include <cofork/run.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace {

using namespace std::chrono_literals;
using test::attacker;
using test::reply;
using test::say_finished;
using test::send;
using test::send_reply;

int works_or_whispers(int item)
{
    if (item % 40 != attacker)
        return 2 * item;
    send("xxxxxxxxxxxxxxx", 1 + static_cast<std::size_t>(item / 40)); // less than the header of a reply
    test::hang();
}

} // namespace

// Taken for the begin of a reply, it hid the replies that were still in the page.
TEST_CASE("noise that is shorter than a header costs an item itself, and not those before it", "[hostile][F66][F86]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto all = test::run(context,
        cofork::try_parallel(pool, works_or_whispers, test::numbers(15 * 40), {.timeout = 300ms, .chunk = 40}));
    for (std::size_t k = 0; k < all.size(); ++k) {
        CAPTURE(k);
        CHECK(all[k].has_value() == (k % 40 != attacker));
    }
    test::still_works(context, pool);
}

namespace {

std::size_t answers_and_stays(const std::string& item)
{
    if (item.empty()) {
        say_finished();
        send_reply(reply(8), {"\x2a\0\0\0\0\0\0\0", 8});
        test::hang();
    }
    return item.size();
}

} // namespace

// The place waited for ever until it had read what another call had sent to it before it was given up.
TEST_CASE("a worker that reads nothing any more does not keep the loop", "[hostile][F71]")
{
    const test::leaves_nothing guard;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto give_up = [&]() -> asio::awaitable<void> {
        const auto ex = co_await asio::this_coro::executor;
        std::string none;
        const std::size_t said = co_await cofork::run(pool, answers_and_stays, none);
        CHECK(said == 42);
        const std::vector<std::string> large(2, std::string(8 << 20, 'x'));
        asio::cancellation_signal cancel;
        bool ended = false;
        cofork::parallel(pool, answers_and_stays, large, cofork::options{.chunk = 2},
            asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr, std::vector<std::size_t>) { ended = true; }));
        while (pool.stats().sent < large[0].size())
            co_await asio::post(ex, asio::use_awaitable);
        cancel.emit(asio::cancellation_type::partial);
        while (!ended)
            co_await asio::post(ex, asio::use_awaitable);
    };
    test::run(context, give_up());
    context.restart();
    context.run_for(test::long_enough);
    CHECK(context.stopped());
    test::still_works(context, pool);
}

namespace {

/// In one write, so that they may be taken together.
int answers_for_all(int item)
{
    if (item > 0)
        return 2 * item;
    say_finished();
    std::string bytes;
    for (std::uint32_t i = 0; i < 4; ++i) {
        auto header = reply(4);
        header.sequence += i;
        bytes.append(reinterpret_cast<const char*>(&header), sizeof header);
        bytes.append("\x2a\0\0\0", 4);
    }
    send(bytes.data(), bytes.size());
    test::hang();
}

} // namespace

TEST_CASE("of answers that lie together those are believed whose items have begun and ended", "[hostile][F70][F71]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto all = test::run(context, cofork::try_parallel(pool, answers_for_all, test::numbers(10), {.chunk = 10}));
    REQUIRE(all.size() == 10);
    for (std::size_t i = 0; i < all.size(); ++i) {
        REQUIRE(all[i].has_value());
        CHECK(*all[i] == (i == 0 ? 42 : 2 * static_cast<int>(i)));
    }
    CHECK(pool.stats().done == 10);
    CHECK(pool.stats().spawned == 2);
    test::still_works(context, pool);
}
