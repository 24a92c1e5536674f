// S5: exactly the items that are planned to fail do, and all others have their value, in batches of all sizes.

#include "checks.hpp"

#include "ledger.hpp"

#include "../support/faults.hpp"
#include "../support/worker_side.hpp"

#include "frame.hpp"

#include <cofork/stream.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <map>
#include <random>
#include <stdexcept>

#include <fcntl.h>
#include <unistd.h>

namespace soak {

namespace {

using namespace cofork::detail;
using namespace std::chrono_literals;
using cofork::failure_kind;

constexpr auto limit = test::forks_are_slow ? 500ms : 60ms;

/// What an item does beside its work. `item::plan` is one of these, and in its upper half a random number.
enum class deed : std::uint32_t {
    none,
    crash_segv, crash_abort, crash_kill, crash_exit,
    throws,
    hangs,
    noise, huge_claim, wrong_sequence, answers_too_early, part_of_a_header, ///< hostile: bytes into its own pipe, then it hangs
    crashes_once, ///< and is well the second time, when it is given one
    count
};

deed deed_of(const item& i)
{
    return static_cast<deed>(i.plan & 0xff);
}

bool is_hostile(deed d)
{
    return d >= deed::noise && d <= deed::part_of_a_header;
}

bool may_end_as(deed d, failure_kind kind)
{
    if (d == deed::throws)
        return kind == failure_kind::exception;
    // Noise is not always seen: what came by the page already is skipped in the pipe. The time limit ends it then.
    if (d == deed::hangs || is_hostile(d))
        return kind == failure_kind::timeout || (is_hostile(d) && kind == failure_kind::protocol);
    return kind == failure_kind::crashed;
}

void send(const void* bytes, std::size_t size)
{
    (void)!::write(test::own_pipe(O_WRONLY), bytes, size);
}

void send_noise(std::uint64_t random, std::size_t size)
{
    std::minstd_rand engine{static_cast<std::uint32_t>(random) | 1};
    std::string noise(size, '\0');
    std::ranges::generate(noise, [&] { return static_cast<char>(engine()); });
    noise[0] = '\x01'; // no magic number begins so
    send(noise.data(), noise.size());
}

void be_hostile(deed d, std::uint64_t random)
{
    reply_header header{reply_magic, reply_kind::value, 0, test::own_page().started - 1, 4};
    switch (d) {
    case deed::noise: return send_noise(random, 16 + random % 5000);
    case deed::part_of_a_header: return send_noise(random, 1 + random % 15);
    case deed::huge_claim: header.size = std::uint64_t{1} << (27 + random % 36); break;
    case deed::wrong_sequence: header.sequence += 1 + static_cast<std::uint32_t>(random % 1000); break;
    default: break; // answers_too_early
    }
    const std::array<char, 4> payload{};
    send(&header, sizeof header);
    send(payload.data(), payload.size());
}

[[noreturn]] void crash(deed d)
{
    switch (d) {
    case deed::crash_segv: ::raise(SIGSEGV); break;
    case deed::crash_abort: std::abort();
    case deed::crash_exit: std::_Exit(3);
    default: break;
    }
    for (;;)
        ::kill(::getpid(), SIGKILL);
}

std::string poisoned_work(const item& i)
{
    note_start(i);
    spend(i.cost);
    const deed d = deed_of(i);
    const bool well = d == deed::none || (d == deed::crashes_once && (*books)[i.index].starts > 1);
    if (d == deed::throws)
        throw std::runtime_error{"planned " + std::to_string(i.nonce)};
    if (is_hostile(d))
        be_hostile(d, i.plan >> 32);
    if (d == deed::hangs || is_hostile(d))
        test::hang();
    if (!well)
        crash(d);
    std::string result = result_of(i);
    note_finish(i);
    return result;
}

/// One in a hundred crashes, throws and hangs; one in a thousand is hostile.
deed draw(std::uint64_t random)
{
    const std::uint64_t of_thousand = random % 1000;
    const auto one_of = [&](deed first, unsigned n) {
        return static_cast<deed>(static_cast<unsigned>(first) + static_cast<unsigned>((random >> 16) % n));
    };
    if (of_thousand < 10)
        return one_of(deed::crash_segv, 4);
    if (of_thousand < 20)
        return deed::throws;
    if (of_thousand < 30)
        return deed::hangs;
    if (of_thousand < 31)
        return one_of(deed::noise, 5);
    return of_thousand < 35 ? deed::crashes_once : deed::none;
}

std::vector<item> make_items(std::uint64_t seed, std::size_t count)
{
    std::vector<item> items(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t random = mix(seed, i);
        items[i] = {i, random, random % 20'000, mix(random, 1) % 300, 0};
        items[i].plan = static_cast<std::uint64_t>(draw(mix(random, 2))) | (mix(random, 3) & 0xffffffff00000000u);
    }
    if (count > 2 * static_cast<std::size_t>(deed::count)) // each at least once, however few there are
        for (std::size_t d = 1; d < static_cast<std::size_t>(deed::count); ++d)
            items[d * count / static_cast<std::size_t>(deed::count)].plan = d | (mix(seed, d) & 0xffffffff00000000u);
    return items;
}

/// The planned failure, told as it happened.
bool as_planned(const item& i, const cofork::failure& why, unsigned attempts)
{
    const deed d = deed_of(i);
    if (d == deed::none || (d == deed::crashes_once && attempts > 1) || !may_end_as(d, why.kind))
        return false;
    switch (d) {
    case deed::crash_segv: return why.signal == SIGSEGV;
    case deed::crash_abort: return why.signal == SIGABRT;
    case deed::crash_exit: return why.exit_code == 3 && why.signal == 0;
    case deed::crash_kill:
    case deed::crashes_once: return why.signal == SIGKILL;
    case deed::throws: return why.what == "planned " + std::to_string(i.nonce) && why.type == "std::runtime_error";
    default: return true;
    }
}

void call(std::uint64_t seed, std::size_t count, std::size_t chunk, bool in_pool, unsigned attempts)
{
    const test::leaves_nothing nothing;
    const std::vector<item> items = make_items(seed, count);
    const ledger starts{items.size()};
    const keep_books open{starts};
    audit outcomes{items, starts, attempts,
        [&](const item& i, const cofork::failure& why) { return as_planned(i, why, attempts); }};

    asio::io_context context{1};
    const cofork::options options{
        .workers = 4, .timeout = limit, .chunk = chunk, .delivery = cofork::order::finished, .attempts = attempts};
    std::optional<cofork::pool> pool;
    if (in_pool)
        pool.emplace(context, cofork::pool_options{.workers = 4});
    {
        auto results = pool ? cofork::stream(*pool, poisoned_work, items, options)
                            : cofork::stream(context.get_executor(), poisoned_work, items, options);
        test::run(context, outcomes.drain(results), 24h); // the watchdog ends a hang
    }
    outcomes.close();
    const auto planned = static_cast<std::uint64_t>(std::ranges::count_if(items, [&](const item& i) {
        return deed_of(i) != deed::none && (attempts == 1 || deed_of(i) != deed::crashes_once);
    }));
    demand(outcomes.failures() == planned,
        std::to_string(planned) + " planned failures; there were " + std::to_string(outcomes.failures()));
    for (const item& i : items) {
        const std::uint32_t n = starts[i.index].starts;
        if (n == 0 || (deed_of(i) == deed::none && n != 1))
            complain("item " + std::to_string(i.index) + " was started " + std::to_string(n) + " times");
    }
    if (pool)
        test::still_works(context, *pool);
}

} // namespace

void poison(const settings& s)
{
    constexpr std::size_t chunks[] = {1, 8, 64, 0};
    const std::uint64_t items = s.amount(100'000, 800);
    const std::size_t each = std::max<std::size_t>(items / 16, 100);
    for (std::uint64_t n = 0; n < 8 || now->items < items; ++n)
        call(mix(s.seed, n), each, chunks[n % std::size(chunks)], n % 8 < 4, n % 3 == 2 ? 2 : 1);
}

} // namespace soak
