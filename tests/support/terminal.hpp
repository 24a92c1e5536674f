#pragma once
// A terminal of our own, and what a person would see on it.

#include "catch.hpp"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace test {

/// A pseudo-terminal that a program may write to. It changes nothing in what is written, and is nobody's controlling
/// terminal.
class terminal {
public:
    explicit terminal(unsigned short columns)
    {
        termios raw{};
        ::cfmakeraw(&raw);
        REQUIRE(::openpty(&master_, &slave_, nullptr, &raw, nullptr) == 0);
        resize(columns);
    }

    terminal(const terminal&) = delete;
    terminal& operator=(const terminal&) = delete;

    ~terminal()
    {
        ::close(master_);
        ::close(slave_);
    }

    /// What the program gets; borrowed.
    [[nodiscard]] int descriptor() const { return slave_; }

    void resize(unsigned short columns) const
    {
        winsize window{};
        window.ws_row = 24;
        window.ws_col = columns;
        REQUIRE(::ioctl(master_, TIOCSWINSZ, &window) == 0);
    }

    /// Everything that was written since the last call.
    ///
    /// The kernel hands it over on its own time, so a marker is sent after it and waited for.
    [[nodiscard]] std::string written() const
    {
        constexpr char marker = '\x04'; // nothing that a bar writes
        REQUIRE(::write(slave_, &marker, 1) == 1);
        std::string text;
        while (text.empty() || text.back() != marker) {
            pollfd ready{master_, POLLIN, 0};
            REQUIRE(::poll(&ready, 1, 10'000) == 1);
            char some[4096];
            const ssize_t size = ::read(master_, some, sizeof some);
            REQUIRE(size > 0);
            text.append(some, static_cast<std::size_t>(size));
        }
        text.pop_back();
        return text;
    }

private:
    int master_ = -1;
    int slave_ = -1;
};

/// What a terminal shows: lines of text, and where the cursor is.
struct screen {
    std::vector<std::string> lines;
    std::size_t column = 0; // of the cursor, which is on the last line
};

/// Shows `text` on a terminal of `columns` columns, which wraps a line that is too long and knows "\r", "\n" and
/// "\x1b[K". ASCII only. Fails the test on any other control character.
inline screen show(std::string_view text, std::size_t columns)
{
    screen s{{""}};
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string& line = s.lines.back();
        if (text[i] == '\r') {
            s.column = 0;
        } else if (text[i] == '\n') {
            s.lines.emplace_back();
            s.column = 0;
        } else if (text.substr(i).starts_with("\x1b[K")) {
            line.resize(s.column);
            i += 2;
        } else if (static_cast<unsigned char>(text[i]) < 0x20) {
            FAIL("control character " << static_cast<int>(text[i]) << " on the terminal");
        } else if (s.column == columns) { // it wraps with the character that has no place
            s.lines.emplace_back(1, text[i]);
            s.column = 1;
        } else {
            line.resize(std::max(line.size(), s.column + 1), ' ');
            line[s.column++] = text[i];
        }
    }
    return s;
}

} // namespace test
