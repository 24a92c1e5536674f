// What workers print: tagged, captured or dropped.

#include "support/faults.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>

#include <algorithm>
#include <fcntl.h>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;
using cofork::output_mode;

/// Prints on both streams, and then does what its number says.
int prints(int item)
{
    std::printf("out %d\n", item);
    std::fprintf(stderr, "err %d\n", item);
    switch (item % 10) {
    case 3: throw std::runtime_error{"three"};
    case 5: std::abort();
    case 7: test::hang();
    default: return item;
    }
}

std::string printed_by(int item)
{
    const std::string number = std::to_string(item);
    return "out " + number + "\nerr " + number + "\n";
}

/// What `program` prints to a stdout that is a file.
template <typename Program>
std::string text_in_a_file(Program program)
{
    char name[] = "/tmp/cofork-test-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    test::helper_process process{[&] {
        ::dup2(file, STDOUT_FILENO);
        ::dup2(file, STDERR_FILENO);
        ::fcntl(file, F_SETFL, O_APPEND);
        program();
    }};
    CHECK(process.status() == 0);
    const std::string text = test::text_of(name);
    ::unlink(name);
    ::close(file);
    return text;
}

std::size_t times(const std::string& text, const std::string& part)
{
    std::size_t n = 0;
    for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
        ++n;
    return n;
}

} // namespace

TEST_CASE("a failure carries what its item printed, and nothing of others", "[output]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2, .output = output_mode::capture}};
    const auto all = test::run(
        context, cofork::try_parallel(pool, prints, test::numbers(40), {.timeout = 300ms, .chunk = 8}));
    for (int i = 0; i < 40; ++i) {
        CAPTURE(i);
        const auto& one = all[static_cast<std::size_t>(i)];
        const bool fails = i % 10 == 3 || i % 10 == 5 || i % 10 == 7;
        REQUIRE(one.has_value() != fails);
        if (fails)
            CHECK(one.error().output == printed_by(i));
    }
}

TEST_CASE("of much output the end is kept", "[output]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    const auto chatters = [](int item) {
        for (int i = 0; i < 20'000; ++i)
            std::printf("line %d of item %d\n", i, item);
        if (item == 1)
            throw 1;
        if (item == 2)
            std::abort();
        return item;
    };
    const auto all = test::run(
        context, cofork::try_parallel(chatters, test::numbers(4), {.workers = 2, .output = output_mode::capture}));
    CHECK(all[0].has_value());
    CHECK(all[3].has_value());
    for (const std::size_t i : {1u, 2u}) {
        const std::string& output = all[i].error().output;
        CHECK(output.size() == 4096);
        CHECK(output.ends_with("line 19999 of item " + std::to_string(i) + "\n"));
    }
}

TEST_CASE("what a state's maker and a process left behind print is of no item", "[output]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .init = [] { std::puts("init"); return 1; }, .output = output_mode::capture}};
    const auto f = [](int&, int item) {
        if (item == 0 && ::fork() == 0) {
            for (;;)
                std::puts("left behind");
        }
        if (item == 2)
            throw std::runtime_error{"two"};
        return item;
    };
    const auto all = test::run(context, cofork::try_parallel(pool, f, test::numbers(3), {.chunk = 1}));
    CHECK(all[1].has_value());
    CHECK(all[2].error().what == "two"); // and no wait without end for a silence that does not come
    CHECK(times(all[2].error().output, "init") == 0);
}

TEST_CASE("each line is tagged with its item", "[output]")
{
    const test::leaves_nothing nothing;
    const std::string text = text_in_a_file([] {
        asio::io_context context{1};
        const auto f = [](int item) {
            std::printf("a\nb %d\nhalf ", item);
            std::fflush(stdout);
            std::fprintf(stderr, "c\n");
            std::printf("line %d", item);
            return item;
        };
        cofork::pool pool{context, {.workers = 2, .init = [] { std::puts("begins"); return 1; }, .output = output_mode::tag}};
        (void)test::run(context, cofork::parallel(pool, f, test::numbers(30), {.chunk = 10}));
    });
    CAPTURE(text);
    for (int i = 0; i < 30; ++i) {
        const std::string tag = "[item " + std::to_string(i) + "] ";
        for (const std::string& line : {std::string{"a"}, "b " + std::to_string(i), "half line " + std::to_string(i), std::string{"c"}})
            CHECK(times(text, tag + line + "\n") == 1);
    }
    CHECK(times(text, "[worker ") == times(text, "] begins\n"));
    CHECK(times(text, "[worker ") >= 1);
    CHECK(times(text, "\n") == 30 * 4 + times(text, "begins"));
}

TEST_CASE("lines of single calls are tagged with the call", "[output]")
{
    const test::leaves_nothing nothing;
    const std::string text = text_in_a_file([] {
        asio::io_context context{1};
        const auto f = [](int x) {
            std::printf("%d prints\n", x);
            return x;
        };
        const auto called = [](const cofork::event& e) {
            std::fprintf(stderr, "%d is call %llu\n", e.pid, static_cast<unsigned long long>(e.call));
        };
        cofork::pool pool{context, {.workers = 1, .output = output_mode::tag}};
        for (int i = 0; i < 3; ++i)
            (void)test::run(context, cofork::run(pool, f, i, cofork::options{.on_event = called}));
    });
    CAPTURE(text);
    std::vector<std::string> calls; // as events have them, two for each
    std::istringstream lines{text};
    for (std::string line; std::getline(lines, line);) {
        if (const auto at = line.find(" is call "); at != std::string::npos)
            calls.push_back(line.substr(at + 9));
    }
    REQUIRE(calls.size() == 6);
    for (std::size_t i = 0; i < 3; ++i) {
        CHECK(calls[2 * i] == calls[2 * i + 1]);
        CHECK(times(text, "[call " + calls[2 * i] + "] " + std::to_string(i) + " prints\n") == 1);
    }
    CHECK(times(text, "[item ") == 0);
}

TEST_CASE("output for nobody comes nowhere", "[output]")
{
    const test::leaves_nothing nothing;
    const std::string text = text_in_a_file([] {
        asio::io_context context{1};
        const auto all = test::run(
            context, cofork::try_parallel(prints, test::numbers(4), {.workers = 2, .output = output_mode::null}));
        if (!all[3].error().output.empty())
            ::_exit(1);
    });
    CHECK(text.empty());
}

TEST_CASE("a stdout that nobody reads holds up neither timeouts nor the end", "[output][F87]")
{
    const test::leaves_nothing nothing;
    int fds[2];
    REQUIRE(::pipe2(fds, O_CLOEXEC) == 0);
    test::helper_process process{[&] {
        ::dup2(fds[1], STDOUT_FILENO);
        asio::io_context context{1};
        cofork::pool pool{context, {.workers = 2, .output = output_mode::tag}};
        const auto floods = [](int item) {
            while (item == 1)
                std::puts("a line that nobody reads");
            return item;
        };
        const auto all = test::run(
            context, cofork::try_parallel(pool, floods, test::numbers(4), {.timeout = 300ms, .chunk = 1}));
        if (all[1].has_value() || all[1].error().kind != failure_kind::timeout || !all[3].has_value())
            ::_exit(1);
    }};
    CHECK(process.status() == 0);
    ::close(fds[0]);
    ::close(fds[1]);
}

TEST_CASE("items in a strict sandbox are captured, too", "[output]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::policy strict{.level = cofork::containment::strict, .missing = cofork::if_unavailable::degrade};
    cofork::pool pool{context, {.workers = 1, .sandbox = strict, .output = output_mode::capture}};
    const auto all = test::run(context, cofork::try_parallel(pool, prints, test::numbers(6), {.chunk = 6}));
    CHECK(all[3].error().output == printed_by(3));
    CHECK(all[5].error().output == printed_by(5));
    CHECK(all[4].has_value());
}

TEST_CASE("output has a meaning where there are workers of one's own", "[output]")
{
    asio::io_context context{1};
    const auto refused = [&](auto&& work) {
        try {
            (void)test::run(context, std::move(work));
        }
        catch (const std::system_error& e) {
            return e.code() == cofork::errc::invalid_options;
        }
        return false;
    };
    CHECK(refused(cofork::parallel(prints, test::numbers(2), {.workers = 0, .output = output_mode::tag})));
    cofork::pool pool{context, {.workers = 1}};
    CHECK(refused(cofork::parallel(pool, prints, test::numbers(2), {.output = output_mode::tag})));
}
