// S4: workers die at every offset of a result frame. A torn frame is a crash, a whole one is a value.

#include "checks.hpp"

#include "ledger.hpp"
#include "own_writes.hpp"

#include "../support/faults.hpp"
#include "../support/worker_side.hpp"

#include "arena.hpp"
#include "frame.hpp"
#include "large_reply.hpp"

#include <cofork/stream.hpp>

#include <algorithm>
#include <csignal>

#include <fcntl.h>
#include <unistd.h>

namespace soak {

namespace {

using namespace cofork::detail;
using namespace std::chrono_literals;

/// Who writes the frame, up to the offset at which the worker dies.
enum class way : std::uint64_t {
    by_hand,  ///< f itself, into the pipe; the page knows nothing of it
    by_worker ///< the worker, after f has returned: what fits into the page is whole before the first byte is written
};

/// `item::plan` is the offset, and in its highest bit the way.
constexpr std::uint64_t way_bit = std::uint64_t{1} << 63;

way way_of(const item& i)
{
    return (i.plan & way_bit) != 0 ? way::by_worker : way::by_hand;
}

std::size_t offset_of(const item& i)
{
    return static_cast<std::size_t>(i.plan & ~way_bit);
}

constexpr std::size_t whole(std::uint64_t size)
{
    return sizeof(reply_header) + sizeof(std::uint64_t) + size; // a string travels behind its length (codec.hpp)
}

/// What its pipe brings of that.
std::size_t frame_bytes(std::uint64_t size, way by)
{
    const std::size_t payload = whole(size) - sizeof(reply_header);
    if (by == way::by_hand || whole(size) <= sizeof(page::out))
        return whole(size);
    const std::size_t parts = (payload + large_reply::part_bytes - 1) / large_reply::part_bytes;
    return sizeof(reply_header) + parts * 2 * sizeof(std::uint64_t); // the rest is in its arena, which is empty before
}

[[noreturn]] void write_and_die(const std::string& result, std::size_t offset)
{
    std::vector<std::byte> frame(whole(result.size()));
    store(frame.data(), reply_header{reply_magic, reply_kind::value, 0, test::own_page().started - 1,
                            frame.size() - sizeof(reply_header)});
    store<std::uint64_t>(frame.data() + sizeof(reply_header), result.size());
    std::ranges::copy(std::as_bytes(std::span{result}), frame.begin() + sizeof(reply_header) + sizeof(std::uint64_t));
    test::say_finished();
    const int pipe = test::own_pipe(O_WRONLY);
    for (std::size_t done = 0; done < offset;) {
        const ssize_t put = ::write(pipe, frame.data() + done, offset - done);
        REQUIRE(put > 0);
        done += static_cast<std::size_t>(put);
    }
    for (;;)
        ::kill(::getpid(), SIGKILL);
}

std::string last_work(const item& i)
{
    note_start(i);
    std::string result = result_of(i);
    note_finish(i);
    if (way_of(i) == way::by_hand)
        write_and_die(result, offset_of(i));
    die_after(offset_of(i));
    return result;
}

/// By the worker, what fits into its page is there before it dies, whatever has been written.
bool has_value(const item& i)
{
    return offset_of(i) == frame_bytes(i.size, way_of(i)) || (way_of(i) == way::by_worker && whole(i.size) <= sizeof(page::out));
}

std::vector<item> make_items(const settings& s)
{
    std::vector<item> items;
    const auto add = [&](std::uint64_t size, way by, std::size_t offset) {
        const std::uint64_t bit = by == way::by_worker ? way_bit : 0;
        items.push_back({items.size(), mix(s.seed, items.size()), 0, size, offset | bit});
    };
    for (const way by : {way::by_hand, way::by_worker}) {
        for (const std::uint64_t size : {0u, 1u, 40u, 4096u}) {
            const std::size_t step = std::max<std::size_t>(1, static_cast<std::size_t>(1 / s.scale) * whole(size) / whole(4096));
            for (std::size_t offset = mix(s.seed, size) % step; offset < whole(size); offset += step)
                add(size, by, offset);
            add(size, by, whole(size));
        }
        for (const std::uint64_t size : {std::uint64_t{65'536}, sizeof(arena::results) - sizeof(std::uint64_t)}) {
            const std::size_t end = frame_bytes(size, by);
            for (const std::size_t edge : {std::size_t{0}, sizeof(reply_header) - 1, sizeof(reply_header), end / 2, end - 1, end})
                add(size, by, edge);
            for (std::uint64_t n = s.amount(512, 2); n > 0; --n)
                add(size, by, mix(mix(s.seed, size), n) % end);
        }
    }
    return items;
}

/// Each item ends its worker, so each worker is for one item only: nothing lies in its page but this.
void sweep(const settings& s)
{
    const test::leaves_nothing nothing;
    const std::vector<item> items = make_items(s);
    const ledger starts{items.size()};
    const keep_books open{starts};
    audit outcomes{items, starts, 1, [](const item& i, const cofork::failure& why) {
        return !has_value(i) && why.kind == cofork::failure_kind::crashed && why.signal == SIGKILL;
    }};
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .fresh = true}};
    {
        auto results = cofork::stream(pool, last_work, items, {.delivery = cofork::order::finished});
        test::run(context, outcomes.drain(results), 24h); // the watchdog ends a hang
    }
    outcomes.close();
    const auto whole_ones = static_cast<std::uint64_t>(std::ranges::count_if(items, has_value));
    demand(outcomes.values() == whole_ones,
        std::to_string(whole_ones) + " values; there were " + std::to_string(outcomes.values()));
    now->kills += items.size();
    now->torn += static_cast<std::uint64_t>(
        std::ranges::count_if(items, [](const item& i) { return offset_of(i) > 0 && offset_of(i) < frame_bytes(i.size, way_of(i)); }));
    test::still_works(context, pool);
}

constexpr std::size_t in_batch = 8;

std::string last_of_batch(const item& i)
{
    note_start(i);
    std::string result = result_of(i);
    note_finish(i);
    if (i.plan != 0)
        die_after(i.plan - 1);
    return result;
}

/// Eight results wait in the page, and the worker dies at every offset of writing them: all eight have their value.
void sweep_batches(const settings& s)
{
    const test::leaves_nothing nothing;
    const std::size_t all = in_batch * whole(40);
    const std::size_t step = std::max<std::size_t>(1, all / s.amount(static_cast<double>(all), 8));
    std::vector<item> items;
    for (std::size_t offset = 0; offset <= all; offset += step)
        for (std::size_t n = 0; n < in_batch; ++n)
            items.push_back({items.size(), mix(s.seed, items.size()), 0, 40, n + 1 == in_batch ? offset + 1 : 0});
    const ledger starts{items.size()};
    const keep_books open{starts};
    audit outcomes{items, starts, 1, [](const item&, const cofork::failure&) { return false; }};
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    {
        auto results = cofork::stream(pool, last_of_batch, items, {.chunk = in_batch, .delivery = cofork::order::finished});
        test::run(context, outcomes.drain(results), 24h);
    }
    outcomes.close();
    now->kills += items.size() / in_batch;
    now->torn += items.size() / in_batch - 2;
}

} // namespace

void byte_sweep(const settings& s)
{
    sweep(s);
    sweep_batches(s);
}

} // namespace soak
