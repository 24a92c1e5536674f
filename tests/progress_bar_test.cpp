#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/terminal.hpp"

#include <cofork/progress_bar.hpp>

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <string>
#include <type_traits>

using cofork::progress_bar;
using cofork::progress_bar_options;
using cofork::progress_state;
using namespace std::chrono_literals;

namespace {

/// A pipe, to look at what is written where no terminal is.
class captured {
public:
    captured() { REQUIRE(::pipe2(ends_, O_CLOEXEC) == 0); }
    captured(const captured&) = delete;
    captured& operator=(const captured&) = delete;
    ~captured()
    {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }

    [[nodiscard]] int descriptor() const { return ends_[1]; }

    /// Everything that was written since the last call.
    [[nodiscard]] std::string written() const
    {
        REQUIRE(::fcntl(ends_[0], F_SETFL, O_NONBLOCK) == 0);
        std::string text;
        char some[4096];
        for (ssize_t size = 0; (size = ::read(ends_[0], some, sizeof some)) > 0;)
            text.append(some, static_cast<std::size_t>(size));
        return text;
    }

    void close_reader()
    {
        ::close(ends_[0]);
        ends_[0] = -1;
    }

private:
    int ends_[2];
};

std::ptrdiff_t count(const std::string& text, char what)
{
    return std::count(text.begin(), text.end(), what);
}

/// The only line of the terminal that shows something, with the cursor left on it.
std::string shown(const std::string& bytes, std::size_t columns)
{
    const test::screen screen = test::show(bytes, columns);
    CHECK(screen.lines.size() == 1);
    return screen.lines.back();
}

progress_state at(std::chrono::nanoseconds elapsed, std::size_t done)
{
    return {.done = done, .total = 100, .busy = 2, .elapsed = elapsed};
}

/// Sets TERM, which the environment of the tests may lack.
class with_term {
public:
    explicit with_term(const char* kind)
    {
        if (const char* before = ::getenv("TERM"))
            before_ = before;
        ::setenv("TERM", kind, 1);
    }
    with_term(const with_term&) = delete;
    with_term& operator=(const with_term&) = delete;
    ~with_term() { before_ ? ::setenv("TERM", before_->c_str(), 1) : ::unsetenv("TERM"); }

private:
    std::optional<std::string> before_;
};

} // namespace

TEST_CASE("a bar stays in place, never wraps and is left at the end", "[progress]")
{
    test::leaves_nothing guard;
    const auto columns = static_cast<unsigned short>(GENERATE(10, 30, 60, 80, 200));
    const test::terminal terminal{columns};
    std::string all;
    {
        progress_bar bar{{.label = "parse", .descriptor = terminal.descriptor(), .terminal = true}};
        for (int i = 0; i < 100; ++i) {
            bar.update(at(i * 100ms, static_cast<std::size_t>(i)));
            all += terminal.written();
            const std::string line = shown(all, columns);
            CHECK(line.starts_with("parse  "));
            CHECK(line.size() < columns);
        }
        progress_state last = at(10s, 100);
        last.finished = true;
        bar.update(last);
        all += terminal.written();
    }
    all += terminal.written();
    const test::screen screen = test::show(all, columns);
    REQUIRE(screen.lines.size() == 2);
    CHECK(screen.lines[0].starts_with(std::string{"parse  100/100"}.substr(0, columns - 1u)));
    CHECK(screen.lines[1].empty());
    CHECK(screen.column == 0);
}

TEST_CASE("a bar that is to be cleared leaves an empty line", "[progress]")
{
    const test::terminal terminal{60};
    progress_bar bar{{.clear = true, .descriptor = terminal.descriptor(), .terminal = true}};
    bar.update(at(0s, 1));
    const std::string all = terminal.written();
    CHECK(shown(all, 60).starts_with("1/100 ["));
    progress_state last = at(1s, 100);
    last.finished = true;
    bar.update(last);
    const std::string end = terminal.written();
    CHECK(shown(all + end, 60).empty());
    CHECK(end.find("100/100") == std::string::npos); // not even for a moment
}

TEST_CASE("a bar whose call ends in an exception ends its line", "[progress]")
{
    const test::terminal terminal{60};
    const bool clear = GENERATE(false, true);
    std::optional<progress_bar> bar;
    bar.emplace(progress_bar_options{.clear = clear, .descriptor = terminal.descriptor(), .terminal = true});
    bar->update(at(0s, 1));
    std::string all = terminal.written();
    CHECK(test::show(all, 60).column > 0);
    bar.reset();
    all += terminal.written();
    const test::screen screen = test::show(all, 60);
    CHECK(screen.column == 0);
    CHECK(screen.lines.back().empty());
    CHECK(screen.lines.size() == (clear ? 1u : 2u));
}

TEST_CASE("a bar that was never drawn writes nothing at its end", "[progress]")
{
    const test::terminal terminal{60};
    {
        progress_bar bar{{.descriptor = terminal.descriptor(), .terminal = true}};
    }
    CHECK(terminal.written().empty());
}

TEST_CASE("a bar is drawn at once, and then ten times a second at most", "[progress]")
{
    const test::terminal terminal{80};
    progress_bar bar{{.descriptor = terminal.descriptor(), .terminal = true}};
    bar.update(at(0s, 0));
    CHECK(count(terminal.written(), '\r') == 1);
    for (int i = 1; i <= 10'000; ++i)
        bar.update(at(i * 100us, 0)); // ten thousand in one second
    CHECK(count(terminal.written(), '\r') == 10);
    progress_state last = at(1s + 1us, 100);
    last.finished = true;
    bar.update(last);
    CHECK(count(terminal.written(), '\r') == 1); // the last state is always shown
}

TEST_CASE("a bar follows the width of the window", "[progress]")
{
    const test::terminal terminal{80};
    progress_bar bar{{.label = "parse", .descriptor = terminal.descriptor(), .terminal = true}};
    bar.update(at(0s, 50));
    CHECK(shown(terminal.written(), 80).size() > 60);
    terminal.resize(20);
    bar.update(at(1s, 50));
    CHECK(shown(terminal.written(), 20).size() == 19);
    terminal.resize(80);
    bar.update(at(2s, 50));
    CHECK(shown(terminal.written(), 80).size() > 60);
}

TEST_CASE("a terminal that does not know its width is taken to be eighty columns wide", "[progress]")
{
    const test::terminal terminal{0};
    progress_bar bar{{.label = std::string(200, 'x'), .descriptor = terminal.descriptor(), .terminal = true}};
    bar.update(at(0s, 50));
    CHECK(shown(terminal.written(), 80) == std::string(79, 'x'));
}

TEST_CASE("one bar serves one call after the other", "[progress]")
{
    const test::terminal terminal{80};
    std::string all;
    {
        progress_bar bar{{.descriptor = terminal.descriptor(), .terminal = true}};
        for (int call = 0; call < 2; ++call) {
            bar.update(at(0s, 0));
            bar.update(at(1s, 50));
            progress_state last = at(2s, 100);
            last.finished = true;
            bar.update(last);
        }
        bar.update(at(3s, 0)); // a call that ends in an exception
        bar.update(at(4s, 1));
        bar.update(at(0s, 2)); // and the next
        all = terminal.written();
    }
    all += terminal.written();
    const test::screen screen = test::show(all, 80);
    REQUIRE(screen.lines.size() == 5);
    CHECK(screen.lines[0].ends_with("50/s in 2.0 s"));
    CHECK(screen.lines[1].ends_with("50/s in 2.0 s"));
    CHECK(screen.lines[2].starts_with("1/100"));
    CHECK(screen.lines[3].starts_with("2/100"));
    CHECK(screen.lines[4].empty());
}

TEST_CASE("where no terminal is, a line is written every few seconds and one at the end", "[progress]")
{
    const captured pipe;
    {
        progress_bar bar{{.label = "parse", .descriptor = pipe.descriptor()}};
        for (int i = 0; i <= 120; ++i)
            bar.update(at(i * 100ms, 5));
        progress_state last = at(12500ms, 100);
        last.finished = true;
        bar.update(last);
    }
    CHECK(pipe.written()
          == "parse  5/100 5% busy 2\n"
             "parse  5/100 5% busy 2\n"
             "parse  100/100 100% 8.0/s in 0:13\n");
}

TEST_CASE("the time between two lines can be chosen", "[progress]")
{
    const captured pipe;
    progress_bar bar{{.descriptor = pipe.descriptor(), .line_interval = 1s}};
    for (int i = 0; i <= 35; ++i)
        bar.update(at(i * 100ms, 5));
    CHECK(count(pipe.written(), '\n') == 3);
}

TEST_CASE("where no terminal is, a call that ends in an exception writes nothing more", "[progress]")
{
    const captured pipe;
    {
        progress_bar bar{{.descriptor = pipe.descriptor()}};
        bar.update(at(1s, 5));
    }
    CHECK(pipe.written().empty());
}

TEST_CASE("a bar finds out whether it writes to a terminal that can show it", "[progress]")
{
    const test::terminal terminal{80};
    const captured pipe;
    const auto first_of = [&](int descriptor, const auto& output) {
        progress_bar bar{{.descriptor = descriptor}};
        bar.update(at(0s, 1));
        return output.written();
    };
    const with_term xterm{"xterm"};
    CHECK(first_of(terminal.descriptor(), terminal).starts_with("\r1/100 ["));
    CHECK(first_of(pipe.descriptor(), pipe).empty());
    const with_term dumb{"dumb"};
    CHECK(terminal.written() == "\n"); // the end of the bar above
    CHECK(first_of(terminal.descriptor(), terminal).empty());
}

TEST_CASE("control characters of a label are shown and not obeyed", "[progress]")
{
    const test::terminal terminal{200};
    progress_bar bar{{.label = "a\x1b[2J\nb", .descriptor = terminal.descriptor(), .terminal = true}};
    bar.update(at(0s, 1));
    CHECK(shown(terminal.written(), 200).starts_with("a\\x1b[2J\\nb  1/100"));
}

TEST_CASE("a bar outlives its reader, and SIGPIPE is not even raised", "[progress]")
{
    struct sigaction before {};
    struct sigaction count_them {};
    static volatile sig_atomic_t raised;
    raised = 0;
    count_them.sa_handler = [](int) { raised = 1; };
    REQUIRE(::sigaction(SIGPIPE, &count_them, &before) == 0);

    captured pipe;
    pipe.close_reader();
    {
        progress_bar bar{{.descriptor = pipe.descriptor(), .terminal = true}};
        bar.update(at(0s, 1));
        bar.update(at(1s, 2));
    }
    progress_bar closed{{.descriptor = -1, .terminal = true}};
    CHECK_NOTHROW(closed.update(at(0s, 1)));

    sigset_t pending, mask;
    REQUIRE(::sigpending(&pending) == 0);
    CHECK(::sigismember(&pending, SIGPIPE) == 0);
    REQUIRE(::pthread_sigmask(SIG_BLOCK, nullptr, &mask) == 0);
    CHECK(::sigismember(&mask, SIGPIPE) == 0);
    CHECK(raised == 0);
    REQUIRE(::sigaction(SIGPIPE, &before, nullptr) == 0);
}

TEST_CASE("a bar does not wait for a reader that does not read", "[progress]")
{
    const captured pipe;
    REQUIRE(::fcntl(pipe.descriptor(), F_SETFL, O_NONBLOCK) == 0);
    const std::string junk(65536, 'x');
    while (::write(pipe.descriptor(), junk.data(), junk.size()) > 0)
        ;
    REQUIRE(::fcntl(pipe.descriptor(), F_SETFL, 0) == 0); // now a write would block for good
    progress_bar bar{{.descriptor = pipe.descriptor(), .terminal = true}};
    bar.update(at(0s, 1));
    progress_state last = at(1s, 2);
    last.finished = true;
    bar.update(last);
    CHECK(count(pipe.written(), '\r') == 0);
}

TEST_CASE("a bar in the background leaves the terminal to the foreground", "[progress]")
{
    test::leaves_nothing guard;
    int master = -1;
    std::fflush(nullptr); // ThreadSanitizer's _exit writes what is buffered, in the child too
    const pid_t foreground = ::forkpty(&master, nullptr, nullptr, nullptr);
    REQUIRE(foreground >= 0);
    if (foreground == 0) {
        const pid_t background = ::fork();
        if (background == 0) {
            ::setpgid(0, 0);
            progress_bar bar{{.terminal = true}};
            bar.update(at(0s, 1));
            ::_exit(0);
        }
        ::waitpid(background, nullptr, 0);
        progress_bar bar{{.label = "front", .terminal = true}};
        bar.update(at(0s, 1));
        ::_exit(0);
    }
    std::string text;
    char some[4096];
    for (ssize_t size = 0; (size = ::read(master, some, sizeof some)) > 0;) // ends in EIO
        text.append(some, static_cast<std::size_t>(size));
    int status = -1;
    CHECK(::waitpid(foreground, &status, 0) == foreground);
    ::close(master);
    CHECK(status == 0);
    INFO(text);
    CHECK(count(text, '\r') == 1);
    CHECK(text.starts_with("\rfront  1/100"));
}

TEST_CASE("a bar stays where the call has found it", "[progress]")
{
    static_assert(!std::is_copy_constructible_v<progress_bar>);
    static_assert(!std::is_move_constructible_v<progress_bar>);
    progress_bar bar;
    const cofork::progress_ref ref = bar;
    CHECK(static_cast<bool>(ref));
}
