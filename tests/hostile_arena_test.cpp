// Workers that lie about the memory by which large items and results go: it costs them their own items.

#include "support/faults.hpp"
#include "support/forged_reply.hpp"
#include "support/shared.hpp"
#include "support/worker_side.hpp"

#include "arena.hpp"
#include "frame.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/run.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/post.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include <sys/ioctl.h>
#include <unistd.h>

namespace {

using namespace cofork::detail;
using namespace std::chrono_literals;
using cofork::failure_kind;
using test::own_page;

constexpr std::size_t item_size = 300'000;

arena* own_arena()
{
    FILE* const maps = std::fopen("/proc/self/maps", "re");
    std::uintptr_t from = 0, to = 0, found = 0;
    char how[8], line[512];
    while (std::fgets(line, sizeof line, maps))
        if (std::sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, how) == 3 && std::string_view{how} == "rw-s"
            && to - from == sizeof(arena))
            found = from;
    std::fclose(maps);
    return reinterpret_cast<arena*>(found); // NOLINT(performance-no-int-to-ptr)
}

void send_words(const reply_header& header, const std::vector<std::uint64_t>& words)
{
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    for (const std::uint64_t word : words)
        bytes.append(reinterpret_cast<const char*>(&word), sizeof word);
    test::send(bytes.data(), bytes.size());
}

struct lie {
    const char* name;
    void (*act)();
    failure_kind kind;
};

constexpr auto stay = [] { test::hang(); };

constexpr lie lies[] = {
    {"a part beyond the arena", [] { send_words(test::reply(1'000'000 | is_large), {is_large | 900'000, 500'000}); stay(); },
     failure_kind::protocol},
    {"a part larger than the reply", [] { send_words(test::reply(100 | is_large), {is_large | 101, 0}); stay(); }, failure_kind::protocol},
    {"a part of nothing", [] { send_words(test::reply(100 | is_large), {is_large, 0}); stay(); }, failure_kind::protocol},
    {"no part", [] { send_words(test::reply(is_large), {}); stay(); }, failure_kind::protocol},
    {"2^63 - 1 bytes in parts", [] { send_words(test::reply(~std::uint64_t{0}), {1}); stay(); }, failure_kind::protocol},
    {"half a part", [] { send_words(test::reply(100 | is_large), {is_large | 100}); stay(); }, failure_kind::timeout},
    {"half a reply", [] { send_words(test::reply(1'000 | is_large), {is_large | 100, 0}); ::_exit(3); }, failure_kind::crashed},
    {"all of it, before it has finished", [] { send_words(test::reply(16 | is_large), {is_large | 16, 0}); stay(); },
     failure_kind::protocol},
};

std::size_t lies_or_counts(const std::string& item)
{
    lies[static_cast<std::size_t>(item[0])].act();
    return item.size();
}

/// Says that it has read what it has not, and that the parent has; and writes over what the parent reads.
std::string scribbles(const std::string& item)
{
    const auto k = static_cast<std::uint64_t>(item[0]);
    own_page().taken = k % 3 == 0 ? ~std::uint64_t{0} : own_page().taken + (k << 16);
    own_page().received = k % 2 == 0 ? ~std::uint64_t{0} : k << 18;
    std::ranges::fill(own_arena()->results, static_cast<std::byte>(k));
    if (k % 4 == 0)
        std::ranges::fill(own_arena()->items, static_cast<std::byte>(k));
    return std::string(item_size, item[0]);
}

std::string echo(const std::string& item)
{
    return item;
}

int exits(int status)
{
    ::_exit(status);
}

void check_that_all_is_well(asio::io_context& context, cofork::pool& pool)
{
    const std::string large(3 << 20, 'x');
    CHECK(test::run(context, cofork::run(pool, echo, large)) == large);
}

} // namespace

TEST_CASE("a part of a reply that lies costs its own item", "[hostile][F66][F67]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    for (std::size_t k = 0; k < std::size(lies); ++k) {
        CAPTURE(lies[k].name);
        // Alone: the reply for one before it would be in the page still.
        const std::vector<std::string> item{std::string(item_size, static_cast<char>(k))};
        const auto told = test::run(context, cofork::try_parallel(pool, lies_or_counts, item, {.timeout = 500ms}));
        REQUIRE_FALSE(told[0].has_value());
        CHECK(told[0].error().kind == lies[k].kind);
        check_that_all_is_well(context, pool);
    }
}

// What it spoils is its own: the loop goes on, and whoever comes after it is sent whole items again.
TEST_CASE("a worker that lies about what was read, and writes over it, costs only what it holds", "[hostile][F66]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    std::vector<std::string> items;
    for (int k = 0; k < 60; ++k)
        items.emplace_back(item_size, static_cast<char>(k + 1));
    const auto all = test::run(context, cofork::try_parallel(pool, scribbles, items, {.timeout = 10s}));
    for (const auto& one : all) {
        if (one)
            CHECK(one->size() == item_size);
        else
            CHECK((one.error().kind == failure_kind::protocol || one.error().kind == failure_kind::exception));
    }
    check_that_all_is_well(context, pool);
    CHECK_FALSE(test::run(context, cofork::try_parallel(pool, exits, std::vector{1}))[0]);
    check_that_all_is_well(context, pool);
}

namespace {

std::atomic<bool>* has_begun = nullptr;

/// Answers its own item, begins to answer the next one, and goes on when that is another call's.
std::string begins_too_early(int)
{
    page& own = own_page();
    const auto first = own.started.load();
    test::say_finished();
    test::send_reply(test::reply(3 + sizeof(std::uint64_t)), {"\3\0\0\0\0\0\0\0abc", 11});
    auto early = test::reply(100'000 | is_large);
    early.sequence = first;
    constexpr std::uint64_t half = 50'000;
    send_words(early, {is_large | half, 0});
    while (own.received < half)
        ;
    *has_begun = true;
    const int jobs = test::own_pipe(O_RDONLY);
    for (int there = 0; there == 0;)
        ::ioctl(jobs, FIONREAD, &there);
    own.claim = make_claim(epoch_of(own.claim), first + 1);
    own.started = own.finished = first + 1;
    const std::uint64_t rest[] = {is_large | half, half};
    test::send(rest, sizeof rest);
    test::hang();
}

std::vector<double> zeros(std::size_t count)
{
    return std::vector<double>(count);
}

} // namespace

// The letters of one call's string would have been taken for another call's numbers.
TEST_CASE("an answer that was begun for one call is none for another", "[hostile][F70]")
{
    const test::leaves_nothing nothing;
    const test::shared_at<has_begun> memory;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto two_calls = [&]() -> asio::awaitable<void> {
        const auto ex = co_await asio::this_coro::executor;
        const std::vector items{1, 2};
        asio::cancellation_signal cancel;
        bool ended = false;
        cofork::parallel(pool, begins_too_early, items, cofork::options{.chunk = 2},
            asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr, std::vector<std::string>) { ended = true; }));
        while (!*has_begun)
            co_await asio::post(ex, asio::use_awaitable);
        cancel.emit(asio::cancellation_type::partial);
        while (!ended)
            co_await asio::post(ex, asio::use_awaitable);
        const cofork::options brief{.timeout = 500ms};
        const auto answer = co_await cofork::try_run(pool, zeros, std::size_t{5}, brief);
        REQUIRE_FALSE(answer.has_value());
        CHECK(answer.error().kind == failure_kind::exception);
        CHECK(answer.error().what.find("another call") != std::string::npos);
        const auto next = co_await cofork::run(pool, zeros, std::size_t{5}, brief); // the worker has never ended its first item
        CHECK(next.size() == 5);
    };
    test::run(context, two_calls());
    check_that_all_is_well(context, pool);
}
