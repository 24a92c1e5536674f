#include "output_taps.hpp"

#include "process.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

/// A line that does not end is printed in pieces.
constexpr std::size_t longest_line = 4096;
/// So often a worker's pipe is read before others have their turn.
constexpr int most_reads = 4;

} // namespace

/// A file status flag such as O_NONBLOCK is common to all who share the open file (fcntl(2)), the program among them, so a
/// pipe or a terminal is opened anew for us.
void printer::open(int fd) noexcept
{
    fd_ = fd;
    struct stat what {};
    if (::fstat(fd, &what) != 0 || !(S_ISFIFO(what.st_mode) || S_ISCHR(what.st_mode)))
        return;
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    reopened_ = above_stdio(owned_fd{::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)});
}

ssize_t printer::write_some(std::string_view text) const noexcept
{
    const ssize_t sent = reopened_ ? -1 : ::send(fd_, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (reopened_ || (sent < 0 && errno == ENOTSOCK))
        return ::write(number(), text.data(), text.size());
    return sent;
}

void printer::go_on() noexcept
{
    std::size_t written = 0;
    while (written < unwritten_.size()) {
        const ssize_t put = write_some(std::string_view{unwritten_}.substr(written));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno == EAGAIN)
            break;
        // Closed, broken or full: there is nobody to tell, as when a worker itself prints there.
        written = put < 0 ? unwritten_.size() : written + static_cast<std::size_t>(put);
    }
    unwritten_.erase(0, written);
}

void printer::print(std::string_view text)
{
    const bool waited = waits();
    unwritten_ += text;
    if (!waited)
        go_on();
}

output_taps::output_taps(page* pages, std::uint32_t slots, output_mode mode) : pages_{pages}, mode_{mode}
{
    if (on())
        taps_.resize(slots);
    if (mode_ == output_mode::tag) {
        printers_[0].open(STDOUT_FILENO);
        printers_[1].open(STDERR_FILENO);
    }
    if (mode_ == output_mode::null)
        nowhere_ = above_stdio(owned_fd{::open("/dev/null", O_WRONLY | O_CLOEXEC)});
}

bool output_taps::open(std::uint32_t slot) noexcept
{
    if (!on())
        return true;
    tap fresh;
    for (stream& s : fresh.streams) {
        int fds[2];
        if (::pipe2(fds, O_CLOEXEC) != 0)
            return false;
        s.read = above_stdio(owned_fd{fds[0]});
        s.write = above_stdio(owned_fd{fds[1]});
        if (!s.read || !s.write)
            return false;
        ::fcntl(s.read.get(), F_SETFL, O_NONBLOCK); // its own open file: the worker's end blocks
        if (mode_ == output_mode::capture)
            break;
    }
    taps_[slot] = std::move(fresh);
    return true;
}

void output_taps::redirect(std::uint32_t slot, std::vector<int>& kept) noexcept
{
    if (nowhere_) {
        ::dup2(nowhere_.get(), STDOUT_FILENO);
        ::dup2(nowhere_.get(), STDERR_FILENO);
    }
    if (!on())
        return;
    auto& [out, err] = taps_[slot].streams;
    ::dup2(out.write.get(), STDOUT_FILENO);
    ::dup2(err.write ? err.write.get() : out.write.get(), STDERR_FILENO);
    for (stream* const s : {&out, &err}) {
        if (s->write)
            kept.push_back(s->write.release());
    }
}

void output_taps::forked(std::uint32_t slot, pid_t pid) noexcept
{
    if (!on())
        return;
    taps_[slot].pid = pid;
    for (stream& s : taps_[slot].streams)
        s.write.reset();
}

void output_taps::close(std::uint32_t slot) noexcept
{
    if (!on())
        return;
    tap& ended = taps_[slot];
    for (std::size_t which = 0; which < 2; ++which) {
        // Not until it is empty: a process that the worker has left behind may go on printing.
        for (int reads = 0; ended.streams[which].read && reads < 64 && take(slot, which); ++reads) {
        }
        if (!ended.streams[which].line.empty())
            print_line(ended, which);
    }
    ended = {};
}

void output_taps::watch(std::vector<pollfd>& watched)
{
    const auto add = [&](const place& which, const pollfd& what) {
        watched_.push_back(which);
        watched.push_back(what);
    };
    watched_.clear();
    for (std::size_t p = 0; p < 2; ++p) {
        if (printers_[p].waits())
            add({true, 0, p}, {printers_[p].number(), POLLOUT, 0});
    }
    for (std::uint32_t slot = 0; slot < taps_.size(); ++slot) {
        for (std::size_t which = 0; which < 2; ++which) {
            const stream& s = taps_[slot].streams[which];
            if (s.read && !printers_[which].full())
                add({false, slot, which}, {s.read.get(), POLLIN, 0});
        }
    }
}

void output_taps::serve(const pollfd* watched) noexcept
{
    for (const place& p : watched_) {
        const short events = (watched++)->revents;
        if (events == 0)
            continue;
        if (p.prints) {
            printers_[p.which].go_on();
            continue;
        }
        for (int reads = 0; reads < most_reads && take(p.slot, p.which); ++reads) {
        }
    }
}

/// Returns whether there may be more.
bool output_taps::take(std::uint32_t slot, std::size_t which) noexcept
{
    stream& s = taps_[slot].streams[which];
    if (!s.read)
        return false;
    printed_facts& facts = pages_[slot].printed;
    char text[4096];
    facts.taking.store(1, std::memory_order_seq_cst);
    const std::uint32_t whose = facts.printing.load(std::memory_order_seq_cst);
    const speaker of{whose, facts.index.load(std::memory_order_relaxed), facts.call.load(std::memory_order_relaxed)};
    const ssize_t got = ::read(s.read.get(), text, sizeof text);
    if (got > 0) {
        const std::string_view fresh{text, static_cast<std::size_t>(got)};
        if (mode_ == output_mode::capture)
            keep(slot, whose, fresh);
        else
            tag(slot, which, of, fresh);
    }
    facts.taking.store(0, std::memory_order_seq_cst);
    if (got == 0) // all who could print have closed it
        s.read.reset();
    return got > 0;
}

void output_taps::keep(std::uint32_t slot, std::uint32_t whose, std::string_view text) noexcept
{
    printed_facts& facts = pages_[slot].printed;
    std::size_t size = std::min<std::size_t>(facts.size.load(std::memory_order_relaxed), sizeof facts.end);
    if (facts.whose.load(std::memory_order_relaxed) != whose)
        size = 0;
    text = text.substr(text.size() - std::min(text.size(), sizeof facts.end));
    const std::size_t kept = std::min(size, sizeof facts.end - text.size());
    std::memmove(facts.end, facts.end + (size - kept), kept);
    std::memcpy(facts.end + kept, text.data(), text.size());
    facts.size.store(static_cast<std::uint32_t>(kept + text.size()), std::memory_order_release);
    facts.whose.store(whose, std::memory_order_release);
}

void output_taps::tag(std::uint32_t slot, std::size_t which, const speaker& of, std::string_view text)
{
    tap& from = taps_[slot];
    stream& s = from.streams[which];
    if (s.of.whose != of.whose && !s.line.empty())
        print_line(from, which);
    s.of = of;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        s.line += text.substr(0, end);
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
        if (end != text.npos || s.line.size() >= longest_line)
            print_line(from, which);
    }
}

void output_taps::print_line(tap& from, std::size_t which)
{
    stream& s = from.streams[which];
    std::string line;
    if (s.of.whose == 0)
        line = "[worker " + std::to_string(from.pid);
    else if (s.of.call != 0)
        line = "[call " + std::to_string(s.of.call);
    else
        line = "[item " + std::to_string(s.of.index);
    line += "] ";
    line += s.line;
    line += '\n';
    s.line.clear();
    printers_[which].print(line);
}

void output_taps::flush(int patience_ms) noexcept
{
    for (printer& p : printers_) {
        for (int waited = 0; p.waits() && waited < patience_ms; waited += 10) {
            pollfd ready{p.number(), POLLOUT, 0};
            ::poll(&ready, 1, 10);
            p.go_on();
        }
    }
}

} // namespace cofork::detail
