// Workers that lie: what they write into their pipe and their page can cost them their own items, and nobody anything
// else. The attacks run inside f, with the descriptors and the memory that every worker has.

#include "support/faults.hpp"
#include "support/forged_reply.hpp"
#include "support/worker_side.hpp"

#include "crash_facts.hpp"
#include "frame.hpp"
#include "page.hpp"

#include <cofork/run.hpp>

#include <asio/steady_timer.hpp>

#include <algorithm>
#include <csignal>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace {

using namespace cofork::detail;
using namespace std::chrono_literals;
using cofork::failure_kind;
using test::attacker;
using test::own_page;
using test::own_pipe;
using test::reply;
using test::say_finished;
using test::send;
using test::send_reply;

struct board {
    std::atomic<std::size_t> attack;
    std::atomic<int> starts[64];
    std::atomic<pid_t> pid;      // of the attacker
    std::atomic<pid_t> survivor; // a process that an attack has left behind
};
board* now = nullptr;
using shared_board = test::shared_at<now>;

constexpr std::string_view forged{"\x2a\0\0\0", 4}; // 42

/// u64 elapsed, u32 length of the type's name, u32 length of what was printed, then the texts.
std::string report_bytes(std::uint32_t type_length, std::string_view texts, std::uint32_t output_length = 0)
{
    std::string bytes(sizeof(std::uint64_t), '\0');
    bytes.append(reinterpret_cast<const char*>(&type_length), sizeof type_length);
    bytes.append(reinterpret_cast<const char*>(&output_length), sizeof output_length);
    bytes.append(texts);
    return bytes;
}

void fill_crash_report()
{
    crash_facts& crash = own_page().crash;
    std::fill_n(reinterpret_cast<char*>(&crash), sizeof crash, '\xff');
    std::fill(std::begin(crash.where), std::end(crash.where), '\x1b');
    std::fill(std::begin(crash.trace), std::end(crash.trace), '\n');
    crash.signal = SIGKILL;
    crash.stage = 2;
    ::kill(::getpid(), SIGKILL);
}

/// With all results in it that are not written yet.
void fill_page()
{
    page& p = own_page();
    p.filled = ~std::uint32_t{0};
    std::fill(std::begin(p.out), std::end(p.out), std::byte{0xff});
    ::_exit(9);
}

void leave_a_flood_behind()
{
    const pid_t child = ::fork();
    if (child == 0) {
        ::setsid();
        ::signal(SIGPIPE, SIG_DFL);
        const int pipe = own_pipe(O_WRONLY);
        const std::string noise(4096, 'x');
        while (::write(pipe, noise.data(), noise.size()) > 0)
            now->survivor = ::getpid(); // not before: the flood has to be there when the worker goes
        ::_exit(0);
    }
    while (now->survivor == 0)
        ;
    ::_exit(7);
}

enum class fate { fails, lies, lives }; ///< of the attacking item

struct attack {
    const char* name;
    void (*act)();
    fate item;
    failure_kind kind = failure_kind::protocol;
    const char* what = "";
    bool ends_too = false; ///< and either may be seen first
};

constexpr auto stay = [] { test::hang(); };

constexpr attack attacks[] = {
    // Headers. [F66][F67]
    {"noise", [] { send(std::string(64, '\xff').data(), 64); stay(); }, fate::fails, failure_kind::protocol, "magic"},
    {"an unknown kind", [] { send_reply(reply(4, reply_kind{9}), forged); stay(); }, fate::fails, failure_kind::protocol, "kind"},
    {"2^31 bytes", [] { send_reply(reply(std::uint64_t{1} << 31)); stay(); }, fate::fails, failure_kind::protocol, "longer"},
    {"2^64 - 1 bytes", [] { send_reply(reply(~std::uint64_t{0})); stay(); }, fate::fails, failure_kind::protocol, "longer"},
    {"one byte too many", [] { send_reply(reply((std::uint64_t{64} << 20) + 1)); stay(); }, fate::fails, failure_kind::protocol, "longer"},
    // Amounts. [F68][F69]
    {"claims 64 MiB, sends 16 bytes", [] { send_reply(reply(std::uint64_t{64} << 20), "sixteen bytes..."); stay(); },
     fate::fails, failure_kind::timeout},
    {"a byte at a time", [] {
         send_reply(reply(1 << 20));
         for (;; ::usleep(1000))
             send("x", 1);
     }, fate::fails, failure_kind::timeout},
    {"a part, then death", [] { send_reply(reply(1000), "part"); ::_exit(3); }, fate::fails, failure_kind::crashed, "status 3"},
    // Order. [F70][F71]
    {"answers while it runs", [] { send_reply(reply(4), forged); stay(); }, fate::fails, failure_kind::protocol, "not finished"},
    {"answers twice", [] { say_finished(); send_reply(reply(4), forged); send_reply(reply(4), forged); stay(); }, fate::lies},
    {"answers, and returns too", [] { send_reply(reply(4), forged); }, fate::lies},
    {"answers, and dies", [] { say_finished(); send_reply(reply(4), forged); ::_exit(1); }, fate::lies},
    {"answers for the next", [] { auto h = reply(4); ++h.sequence; send_reply(h, forged); stay(); },
     fate::fails, failure_kind::protocol, "not the next"},
    {"answers for the last", [] { auto h = reply(4); --h.sequence; send_reply(h, forged); stay(); },
     fate::fails, failure_kind::protocol, "not the next"},
    {"answers for all that it holds", [] {
         say_finished();
         for (std::uint32_t i = 0; i < 8; ++i) {
             auto h = reply(4);
             h.sequence += i;
             send_reply(h, forged);
         }
         stay();
     }, fate::lies},
    {"floods", [] {
         say_finished();
         for (auto h = reply(4);; ++h.sequence)
             send_reply(h, forged);
     }, fate::lies},
    // Values and reports. [F74][F75]
    {"a value that is too short", [] { say_finished(); send_reply(reply(3), "abc"); stay(); }, fate::fails, failure_kind::exception},
    {"a value with more behind it", [] { say_finished(); send_reply(reply(5), "abcde"); stay(); }, fate::fails, failure_kind::exception},
    {"a report without its lead", [] { say_finished(); send_reply(reply(3, reply_kind::threw), "abc"); stay(); },
     fate::fails, failure_kind::protocol, "report"},
    {"a report whose type is longer than itself", [] {
         say_finished();
         const std::string bytes = report_bytes(~std::uint32_t{0}, "x");
         send_reply(reply(bytes.size(), reply_kind::threw), bytes);
         stay();
     }, fate::fails, failure_kind::protocol, "report"},
    {"a report that has printed more than itself", [] {
         say_finished();
         const std::string bytes = report_bytes(1, "x", ~std::uint32_t{0});
         send_reply(reply(bytes.size(), reply_kind::threw), bytes);
         stay();
     }, fate::fails, failure_kind::protocol, "report"},
    {"a report that pretends", [] {
         say_finished();
         const std::string bytes = report_bytes(9, "evil_type\x1b[31m%s%n\n");
         send_reply(reply(bytes.size(), reply_kind::threw), bytes);
         stay();
     }, fate::fails, failure_kind::exception, "%s%n"},
    // Beginnings. [F77]
    {"ready again", [] { send_reply(reply(0, reply_kind::ready)); stay(); }, fate::fails, failure_kind::protocol, "begins"},
    {"unfit after all", [] {
         const std::string bytes = report_bytes(0, "no");
         send_reply(reply(bytes.size(), reply_kind::unfit), bytes);
         stay();
     }, fate::fails, failure_kind::protocol, "begins"},
    // The page. [F76][F79]
    {"a crash report of noise", fill_crash_report, fate::fails, failure_kind::crashed, "signal 9"},
    {"says that it has not begun, and dies", [] {
         --own_page().claim;
         --own_page().started;
         ::_exit(5);
     }, fate::fails, failure_kind::crashed, "status 5"},
    {"says that it has begun everything", [] { own_page().claim += 1000; own_page().started += 1000; stay(); },
     fate::fails, failure_kind::protocol, "more than it holds"},
    {"claims everything", [] { own_page().claim += 1000; stay(); }, fate::fails, failure_kind::timeout},
    {"says that it began in a thousand years", [] { own_page().started_at = std::uint64_t{1} << 62; stay(); },
     fate::fails, failure_kind::timeout},
    // The difference to now was a signed overflow.
    {"says that it began before the clock did", [] { own_page().started_at = (std::uint64_t{1} << 63) + 1; stay(); },
     fate::fails, failure_kind::timeout},
    {"says that it has finished", [] { ++own_page().finished; stay(); }, fate::fails, failure_kind::timeout},
    {"a page of noise, then death", fill_page, fate::fails, failure_kind::crashed, "status 9"},
    // Descriptors. [F81][F86]
    {"changes its pipes", [] {
         ::fcntl(own_pipe(O_WRONLY), F_SETPIPE_SZ, 4096);
         ::fcntl(own_pipe(O_WRONLY), F_SETFL, O_DIRECT);
         ::fcntl(own_pipe(O_RDONLY), F_SETPIPE_SZ, 4096);
     }, fate::lives},
    {"does not block any more", [] { ::fcntl(own_pipe(O_WRONLY), F_SETFL, O_NONBLOCK); }, fate::lives},
    {"closes everything", [] { ::close_range(0, ~0U, 0); }, fate::lives},
    {"puts something else in the place of its pipe", [] {
         const int nothing = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
         ::dup2(nothing, own_pipe(O_WRONLY));
     }, fate::lives},
    {"leaves a flood behind", leave_a_flood_behind, fate::fails, failure_kind::protocol, "magic", true},
};

/// AddressSanitizer keeps what was freed for a while: 256 MiB.
constexpr std::size_t most_growth = std::size_t{test::forks_are_slow ? 320 : 16} << 20;

int works_or_attacks(int item)
{
    ++now->starts[item];
    if (item == attacker) {
        now->pid = ::getpid();
        attacks[now->attack].act();
    }
    return 2 * item;
}

/// How long this thread was ready to run while others had the processors: the second number of /proc/PID/schedstat (the
/// kernel's sched-stats.rst). 0 where the kernel does not count it.
std::chrono::nanoseconds waited_for_processor()
{
    std::int64_t ran = 0, waited = 0;
    std::ifstream{"/proc/thread-self/schedstat"} >> ran >> waited;
    return std::chrono::nanoseconds{waited};
}

/// The longest time for which the loop did not get round to a timer that is always due, though it had a processor.
class latency {
public:
    explicit latency(asio::io_context& context) : timer_{context} { again(); }
    std::chrono::nanoseconds worst() const { return worst_; }
    void stop() { timer_.cancel(); }

private:
    void again()
    {
        const auto before = waited_for_processor();
        const auto due = std::chrono::steady_clock::now() + 1ms;
        timer_.expires_at(due);
        timer_.async_wait([this, due, before](std::error_code ec) {
            if (ec)
                return;
            const std::chrono::nanoseconds late = std::chrono::steady_clock::now() - due;
            worst_ = std::max(worst_, late - (waited_for_processor() - before));
            again();
        });
    }

    asio::steady_timer timer_;
    std::chrono::nanoseconds worst_{};
};

std::size_t resident_bytes()
{
    std::size_t pages = 0, ignored = 0;
    std::ifstream{"/proc/self/statm"} >> ignored >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

/// Alone in its worker, an attack has its own reason. Behind others whose results are not written yet it may also hit
/// these in the stream, and is told as that.
void check_attacker(const attack& a, const cofork::outcome<int>& outcome, bool alone)
{
    if (a.item == fate::lives) {
        REQUIRE(outcome.has_value());
        CHECK(*outcome == 2 * attacker);
    }
    else if (a.item == fate::lies)
        CHECK((!outcome.has_value() || *outcome == 42 || *outcome == 2 * attacker)); // its own answer, whatever that is worth
    else {
        REQUIRE_FALSE(outcome.has_value());
        const cofork::failure& why = outcome.error();
        if (alone && !(a.ends_too && why.kind == failure_kind::crashed)) {
            CHECK(why.kind == a.kind);
            CHECK_THAT(why.what, Catch::Matchers::ContainsSubstring(a.what));
        }
        const std::string line = describe(why);
        CHECK(std::none_of(line.begin(), line.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }));
    }
}

} // namespace

TEST_CASE("a lying worker harms nothing but what it holds itself",
    "[hostile][F66][F67][F68][F69][F70][F71][F72][F74][F75][F76][F77][F79][F81][F86]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    const std::vector<int> items = test::numbers(40);
    const std::size_t chunk = GENERATE(std::size_t{1}, std::size_t{4});

    for (std::size_t i = 0; i < std::size(attacks); ++i) {
        CAPTURE(attacks[i].name, chunk);
        now->attack = i;
        now->survivor = 0;
        for (auto& s : now->starts)
            s = 0;
        const std::size_t memory = resident_bytes();
        latency delay{context};

        const auto all = test::run(
            context, cofork::try_parallel(pool, works_or_attacks, items, {.timeout = 300ms, .chunk = chunk}));

        delay.stop();
        CHECK(delay.worst() < (test::forks_are_slow ? 500ms : 100ms));
        CHECK(resident_bytes() < memory + most_growth);
        if (now->survivor != 0)
            ::kill(now->survivor, SIGKILL);
        REQUIRE(all.size() == items.size());
        CHECK((all[attacker].has_value() || all[attacker].error().index == attacker));
        check_attacker(attacks[i], all[attacker], false);
        for (int k = 0; k < 40; ++k) {
            // What its worker held the attacker may have answered, or claimed to have begun, or drowned in noise.
            const cofork::outcome<int>& one = all[static_cast<std::size_t>(k)];
            if (one ? *one == 42 : one.error().pid == now->pid)
                continue;
            CAPTURE(k);
            REQUIRE(all[static_cast<std::size_t>(k)].has_value());
            CHECK(*all[static_cast<std::size_t>(k)] == 2 * k);
            CHECK(now->starts[k] == 1);
        }
        test::still_works(context, pool);
    }
}

TEST_CASE("stray bytes in its pipe cost an item itself, and not those before it", "[hostile][F86]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    now->attack = 0;
    for (int round = 0; round < 20; ++round) {
        const auto all
            = test::run(context, cofork::try_parallel(pool, works_or_attacks, test::numbers(40), {.chunk = 40}));
        for (std::size_t k = 0; k < all.size(); ++k)
            CHECK(all[k].has_value() == (k != attacker));
        CHECK(all[attacker].error().kind == failure_kind::protocol);
    }
}

TEST_CASE("each attack is told by its own reason", "[hostile][F66][F67][F68][F69][F70][F71][F74][F75][F76][F77][F79][F86]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .fresh = true}};
    const std::vector<int> items{attacker};
    for (std::size_t i = 0; i < std::size(attacks); ++i) {
        CAPTURE(attacks[i].name);
        now->attack = i;
        now->survivor = 0;
        const auto all = test::run(context, cofork::try_parallel(pool, works_or_attacks, items, {.timeout = 300ms}));
        if (now->survivor != 0)
            ::kill(now->survivor, SIGKILL);
        check_attacker(attacks[i], all[0], true);
    }
    test::still_works(context, pool);
}

namespace {

/// Attacks its own page for as long as it lives.
int scribbles(int item)
{
    if (item != attacker)
        return 2 * item;
    page& p = own_page();
    for (std::uint32_t noise = 1;; noise = noise * 1664525 + 1013904223) {
        p.flushed = noise & 1 ? noise % 4096 : noise;
        p.filled = noise % static_cast<std::uint32_t>(2 * sizeof p.out);
        p.out[noise % sizeof p.out] = static_cast<std::byte>(noise);
        p.crash.frames[noise % crash_facts::most_frames] = noise;
    }
}

} // namespace

TEST_CASE("a page that changes while it is read is no danger", "[hostile][F79]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    for (int round = 0; round < 5; ++round) {
        const auto all = test::run(
            context, cofork::try_parallel(pool, scribbles, test::numbers(40), {.timeout = 200ms, .chunk = 4}));
        CHECK_FALSE(all[attacker].has_value());
        for (std::size_t k = 0; k < all.size(); ++k)
            CHECK((!all[k].has_value() || *all[k] == 2 * static_cast<int>(k)));
        test::still_works(context, pool);
    }
}
