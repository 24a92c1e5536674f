#include <cofork/progress_bar.hpp>

#include "printable.hpp"
#include "progress_line.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace cofork {
namespace {

using namespace std::chrono_literals;

constexpr auto redraw_interval = 100ms;
constexpr int end_patience_ms = 100; // the last line is worth a short wait for a slow reader
constexpr const char* erase_to_end = "\x1b[K";

/// While it lives, a write to a pipe without a reader says EPIPE and nothing else: a bar must not end the program.
class no_sigpipe {
public:
    no_sigpipe() noexcept
    {
        sigset_t pending;
        ::sigemptyset(&sigpipe_);
        ::sigaddset(&sigpipe_, SIGPIPE);
        ::sigpending(&pending);
        was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
        ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
    }

    ~no_sigpipe()
    {
        // The signal of a write is the writing thread's own (pipe(7)), so one that was not there before is ours.
        const timespec at_once{};
        if (!was_pending_)
            while (::sigtimedwait(&sigpipe_, nullptr, &at_once) < 0 && errno == EINTR)
                ;
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }

    no_sigpipe(const no_sigpipe&) = delete;
    no_sigpipe& operator=(const no_sigpipe&) = delete;

private:
    sigset_t sigpipe_;
    sigset_t before_;
    bool was_pending_;
};

/// Writes as much as the reader takes now: a terminal stopped by ctrl-S must not stop the event loop.
void write_some(int fd, std::string_view text, int patience_ms) noexcept
{
    pollfd ready{fd, POLLOUT, 0};
    if (::poll(&ready, 1, patience_ms) <= 0)
        return;
    const no_sigpipe guard;
    while (!text.empty()) {
        const ssize_t size = ::write(fd, text.data(), text.size());
        if (size < 0 && errno == EINTR)
            continue;
        if (size <= 0)
            return;
        text.remove_prefix(static_cast<std::size_t>(size));
    }
}

bool draws_bars(int fd)
{
    const char* kind = std::getenv("TERM");
    return ::isatty(fd) == 1 && kind && std::string_view{kind} != "dumb";
}

/// A background job that writes to its terminal garbles the foreground's, or is stopped (SIGTTOU).
bool in_foreground(int fd) noexcept
{
    const pid_t group = ::tcgetpgrp(fd); // fails where it is not the terminal that controls us
    return group < 0 || group == ::getpgrp();
}

std::size_t columns_of(int fd) noexcept
{
    winsize window{};
    if (::ioctl(fd, TIOCGWINSZ, &window) < 0 || window.ws_col == 0) // 0: a terminal that does not know
        return 80;
    return window.ws_col;
}

} // namespace

class progress_bar::display {
public:
    explicit display(progress_bar_options options)
        : options_{std::move(options)},
          label_{detail::printable(options_.label)},
          terminal_{options_.terminal.value_or(draws_bars(options_.descriptor))}
    {
    }

    ~display() { end_line(); }

    display(const display&) = delete;
    display& operator=(const display&) = delete;

    void update(const progress_state& state)
    {
        if (last_.finished || state.elapsed < last_.elapsed || state.done < last_.done)
            start_over();
        last_ = state;
        rate_.note(state);
        if (terminal_)
            update_bar(state);
        else
            update_log(state);
    }

private:
    void start_over()
    {
        end_line();
        rate_ = {};
        next_ = std::chrono::nanoseconds{0};
        said_ = std::chrono::nanoseconds{0};
    }

    void update_bar(const progress_state& state)
    {
        const int fd = options_.descriptor;
        if ((state.elapsed < next_ && !state.finished) || !in_foreground(fd))
            return;
        if (state.finished && options_.clear)
            return end_line();
        next_ = state.elapsed + redraw_interval;
        const std::string line = detail::progress_line(label_, state, rate_.per_second(), columns_of(fd));
        write_some(fd, '\r' + line + erase_to_end, state.finished ? end_patience_ms : 0);
        drawn_ = true;
        if (state.finished)
            end_line();
    }

    void update_log(const progress_state& state)
    {
        if (state.elapsed - said_ < options_.line_interval && !state.finished)
            return;
        said_ = state.elapsed;
        const std::string line = detail::progress_log_line(label_, state, rate_.per_second());
        write_some(options_.descriptor, line + '\n', state.finished ? end_patience_ms : 0);
    }

    /// Leaves the cursor at the start of an empty line.
    void end_line() noexcept
    {
        if (!std::exchange(drawn_, false) || !in_foreground(options_.descriptor))
            return;
        if (options_.clear)
            write_some(options_.descriptor, "\r\x1b[K", end_patience_ms);
        else
            write_some(options_.descriptor, "\n", end_patience_ms);
    }

    const progress_bar_options options_;
    const std::string label_;
    const bool terminal_;
    detail::progress_rate rate_;
    progress_state last_;
    std::chrono::nanoseconds next_{0}; // when the bar may be drawn again
    std::chrono::nanoseconds said_{0}; // when the last line of a log was written
    bool drawn_ = false;               // whether a bar stands on the terminal, unfinished
};

progress_bar::progress_bar(progress_bar_options options) : display_{std::make_unique<display>(std::move(options))} {}

progress_bar::~progress_bar() = default;

void progress_bar::update(const progress_state& state)
{
    display_->update(state);
}

} // namespace cofork
