#include "support/catch.hpp"

#include <cofork/failure.hpp>

#include <chrono>
#include <csignal>
#include <string>
#include <utility>

using cofork::failure;
using cofork::failure_kind;
using namespace std::chrono_literals;

namespace {

/// A failure of which only the interesting fields are written down.
struct facts {
    failure_kind kind = failure_kind::exception;
    std::size_t index = 0;
    std::string what{};
    std::string type{};
    int signal = 0;
    int exit_code = -1;
    int pid = 0;
    unsigned attempts = 0;
    std::chrono::nanoseconds elapsed{0};
    cofork::limited limit = cofork::limited::none;

    operator failure() const
    {
        return {kind, index, what, type, signal, exit_code, pid, attempts, elapsed, {}, 0, false, limit};
    }
};

struct row {
    facts why;
    const char* line;
};

std::string described(const facts& why)
{
    return cofork::describe(why);
}

std::string described(std::string what)
{
    return described(facts{.index = 1, .what = std::move(what)});
}

std::string described_after(std::chrono::nanoseconds elapsed)
{
    const std::string line = described(facts{.what = "x", .elapsed = elapsed});
    const std::string before = "item 0: exception: x";
    return line == before ? "" : line.substr(before.size());
}

} // namespace

TEST_CASE("a failure is described in one line, with all that is known of it", "[failure]")
{
    const row rows[] = {
        {{.kind = failure_kind::crashed, .index = 17, .signal = SIGSEGV, .pid = 4711, .attempts = 3, .elapsed = 12ms},
         "item 17: crashed: signal 11 (SIGSEGV), worker 4711, attempt 3, after 12 ms"},
        {{.index = 4, .what = "bad header", .type = "std::runtime_error", .pid = 4711, .attempts = 1, .elapsed = 40us},
         "item 4: exception: std::runtime_error: bad header, worker 4711, after 40 us"},
        {{.kind = failure_kind::crashed, .index = 3, .exit_code = 0, .pid = 4711},
         "item 3: crashed: exited with status 0 in the middle of the item, worker 4711"},
        {{.kind = failure_kind::crashed, .what = "terminate called", .signal = SIGABRT},
         "item 0: crashed: signal 6 (SIGABRT): terminate called"},
        {{.kind = failure_kind::timeout, .signal = SIGKILL, .pid = 4711, .elapsed = 2s},
         "item 0: timeout: it took longer than options::timeout; the worker was killed, worker 4711, after 2 s"},
        {{.kind = failure_kind::limit, .what = "std::bad_alloc", .type = "std::bad_alloc"},
         "item 0: limit: std::bad_alloc"},
        {{.kind = failure_kind::limit, .what = "std::bad_alloc", .limit = cofork::limited::memory},
         "item 0: limit (memory): std::bad_alloc"},
        {{.kind = failure_kind::limit, .signal = SIGKILL}, "item 0: limit: signal 9 (SIGKILL)"},
        {{.kind = failure_kind::protocol, .signal = SIGKILL},
         "item 0: protocol: the worker sent bytes that are not the protocol; it was killed"},
        {{.kind = failure_kind::cancelled}, "item 0: cancelled: the call ended before the item did"},
        {{.kind = failure_kind::not_started, .what = "fork: Resource temporarily unavailable"},
         "item 0: not_started: fork: Resource temporarily unavailable"},
    };
    for (const row& r : rows)
        CHECK(described(r.why) == r.line);
}

TEST_CASE("a failure of which nothing is known is still described", "[failure]")
{
    CHECK(cofork::describe(failure{}) == "item 0: exception: of unknown type");
    CHECK(described(facts{.kind = failure_kind::crashed})
          == "item 0: crashed: the worker ended in the middle of the item");
    CHECK(described(facts{.kind = failure_kind::limit}) == "item 0: limit: a limit was reached");
    CHECK(described(facts{.kind = failure_kind::not_started})
          == "item 0: not_started: no worker could be had for it");
}

TEST_CASE("a real-time signal has no name, and none is made up", "[failure]")
{
    CHECK(described(facts{.kind = failure_kind::crashed, .signal = 40}) == "item 0: crashed: signal 40");
}

TEST_CASE("an ending that the text already tells is not told twice", "[failure]")
{
    CHECK(described(facts{.kind = failure_kind::crashed, .what = "signal 11 (SIGSEGV)", .signal = 11})
          == "item 0: crashed: signal 11 (SIGSEGV)");
}

TEST_CASE("an elapsed time has the unit that suits it", "[failure]")
{
    CHECK(described_after(0ns) == "");
    CHECK(described_after(-5ns) == "");
    CHECK(described_after(999ns) == ", after 999 ns");
    CHECK(described_after(1500ns) == ", after 1.5 us");
    CHECK(described_after(12345us) == ", after 12 ms");
    CHECK(described_after(1ms) == ", after 1 ms");
    CHECK(described_after(1999ms) == ", after 1.9 s");
    CHECK(described_after(59s) == ", after 59 s");
    CHECK(described_after(125s) == ", after 2 min 5 s");
    CHECK(described_after(2h + 3min + 4s) == ", after 2 h 3 min");
}

TEST_CASE("text of a worker cannot drive the terminal that it is printed on", "[failure]")
{
    CHECK(described("\x1b]0;owned\x07") == "item 1: exception: \\x1b]0;owned\\x07");
    CHECK(described("a\nitem 2: fine\r\tb") == "item 1: exception: a\\nitem 2: fine\\x0d\\tb");
    CHECK(described(std::string{"nul\0!", 5}) == "item 1: exception: nul\\x00!");
    CHECK(described("\x7f") == "item 1: exception: \\x7f");
    CHECK(described("\xc2\x9b" "2J") == "item 1: exception: \\xc2\\x9b2J");           // U+009B is ESC [
    CHECK(described("\xe2\x80\xae" "gpj.exe") == "item 1: exception: \\xe2\\x80\\xaegpj.exe"); // right to left
    CHECK(described(facts{.what = "x", .type = "evil\x1b[2J"}) == "item 0: exception: evil\\x1b[2J: x");
}

TEST_CASE("text that is no UTF-8 is shown byte by byte, and UTF-8 as it is", "[failure]")
{
    CHECK(described("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80")
          == "item 1: exception: gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80");
    CHECK(described("\xff\xfe") == "item 1: exception: \\xff\\xfe");
    CHECK(described("cut \xe2\x82") == "item 1: exception: cut \\xe2\\x82");
    CHECK(described("\xc3(") == "item 1: exception: \\xc3(");
    CHECK(described("\xc0\x9b") == "item 1: exception: \\xc0\\x9b");             // overlong
    CHECK(described("\xe0\x82\x9b") == "item 1: exception: \\xe0\\x82\\x9b");    // overlong
    CHECK(described("\xe0\x81\x81") == "item 1: exception: \\xe0\\x81\\x81");    // overlong, of an innocent letter
    CHECK(described("\xed\xa0\x80") == "item 1: exception: \\xed\\xa0\\x80");    // half a surrogate pair
    CHECK(described("\xf4\x90\x80\x80") == "item 1: exception: \\xf4\\x90\\x80\\x80"); // beyond Unicode
}

TEST_CASE("the name of a kind is its enumerator", "[failure]")
{
    using cofork::to_string;
    CHECK(std::string{to_string(failure_kind::exception)} == "exception");
    CHECK(std::string{to_string(failure_kind::crashed)} == "crashed");
    CHECK(std::string{to_string(failure_kind::timeout)} == "timeout");
    CHECK(std::string{to_string(failure_kind::limit)} == "limit");
    CHECK(std::string{to_string(failure_kind::protocol)} == "protocol");
    CHECK(std::string{to_string(failure_kind::cancelled)} == "cancelled");
    CHECK(std::string{to_string(failure_kind::not_started)} == "not_started");
}

TEST_CASE("an item_error carries the failure and its description", "[failure]")
{
    const failure why = facts{.index = 9, .what = "no", .type = "std::logic_error", .pid = 12};
    try {
        throw cofork::item_error{why};
    } catch (const std::runtime_error& error) {
        CHECK(std::string{error.what()} == cofork::describe(why));
        const auto* ours = dynamic_cast<const cofork::item_error*>(&error);
        REQUIRE(ours);
        CHECK(ours->why() == why);
        CHECK(&ours->error() == &ours->why());
    }
}

TEST_CASE("failures compare by all that they say", "[failure]")
{
    const failure why = facts{.index = 9, .what = "no"};
    failure other = why;
    CHECK(other == why);
    other.backtrace = "main";
    CHECK_FALSE(other == why);
}
