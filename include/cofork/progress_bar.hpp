#pragma once
// A progress bar for options::progress: on a terminal one line that is redrawn, elsewhere a line every few seconds.

#include <cofork/progress.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

namespace cofork {

struct progress_bar_options {
    std::string label{};  ///< in front of the line; control characters in it are escaped
    bool clear = false;   ///< at the end, wipe the bar off the terminal in place of leaving it there
    int descriptor = 2;   ///< where to write: stderr. Borrowed; a failed write is ignored
    std::optional<bool> terminal{}; ///< whether to draw a bar; empty = find out
    std::chrono::nanoseconds line_interval = std::chrono::seconds{5}; ///< between two lines, where no bar is drawn
};

/// Shows how a call gets on:
///
///     cofork::progress_bar bar{{.label = "parse"}};
///     auto pages = co_await cofork::parallel(parse, documents, {.progress = bar});
///
///     parse  123/767 [###-----------------] 16% 2 failed 45/s ETA 0:14 busy 8
///
/// The bar is redrawn at most ten times a second, follows the width of the window and never wraps. The rate is that
/// of the last seconds. A bar is drawn only on a terminal that knows more than plain lines (TERM is not "dumb") and
/// only while the program is in its foreground.
///
/// One call at a time, and one after the other. When a call ends in an exception, the destructor ends the line.
class progress_bar {
public:
    explicit progress_bar(progress_bar_options options = {});
    ~progress_bar();

    progress_bar(const progress_bar&) = delete;
    progress_bar& operator=(const progress_bar&) = delete;

    /// Called by the call, see progress_ref. Throws nothing but std::bad_alloc: the work matters more than its bar.
    void update(const progress_state& state);

private:
    class display;
    std::unique_ptr<display> display_;
};

} // namespace cofork
