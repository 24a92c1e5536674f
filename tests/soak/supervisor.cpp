#include "checks.hpp" // first: tests/support is written for Catch2

#include "supervisor.hpp"

#include "../support/faults.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace soak {

figures* now = nullptr;

namespace {

volatile std::sig_atomic_t interrupted = 0;

constexpr std::uint64_t second = 1'000'000'000;
constexpr std::uint64_t most_lines = 20;
constexpr int most_dumps = 12; // of stacks, by each process that makes some

void wait_ms(long ms)
{
    const timespec moment{0, ms * 1'000'000};
    ::nanosleep(&moment, nullptr);
}

void say(const std::string& line)
{
    const std::string whole = line + '\n';
    (void)!::write(STDERR_FILENO, whole.data(), whole.size()); // at once: several processes speak
}

/// A process and all below it.
std::vector<pid_t> family_of(pid_t pid)
{
    std::vector<pid_t> all{pid};
    for (std::size_t i = 0; i < all.size() && all.size() < 200; ++i)
        for (const pid_t child : test::children_of(all[i]))
            all.push_back(child);
    return all;
}

void dump(pid_t pid)
{
    if (test::is_gone(pid))
        return; // a process of the last dump
    beat(); // this takes its time
    const std::string where = "/proc/" + std::to_string(pid);
    std::string line = "-- " + std::to_string(pid) + ' ' + test::text_of(where + "/comm");
    std::ranges::replace(line, '\n', ' ');
    say(line + "state " + test::state_of(pid) + ", waits in " + test::text_of(where + "/wchan") + ", children "
        + std::to_string(test::children_of(pid).size()));
    static int dumps = 0;
    if (test::state_of(pid) == 'Z' || ++dumps > most_dumps || std::system("command -v gdb >/dev/null") != 0)
        return;
    const std::string gdb = "timeout -k 5 40 gdb -p " + std::to_string(pid)
        + " -batch -nx -ex 'set print frame-arguments scalars' -ex 'thread apply all bt 25' 2>/dev/null"
          " | grep -E '^(#|Thread)' | cut -c1-200 1>&2";
    (void)!std::system(gdb.c_str());
}

} // namespace

void show_family(pid_t pid)
{
    for (const pid_t each : family_of(pid))
        dump(each);
}

void end_all_children()
{
    while (true) {
        const std::vector<pid_t> left = test::children();
        if (left.empty())
            return;
        for (const pid_t pid : left)
            ::kill(pid, SIGKILL);
        ::waitpid(-1, nullptr, 0);
    }
}

void complain(const std::string& what)
{
    if (now) {
        ++now->complaints;
        if (now->said++ >= most_lines)
            return;
    }
    say("soak: " + what);
}

void give_up(const std::string& what)
{
    complain(what);
    ::_exit(71);
}

void remark(const std::string& text)
{
    const std::size_t length = std::strlen(now->remarks);
    std::snprintf(now->remarks + length, sizeof now->remarks - length, "%s%s", length > 0 ? ", " : "", text.c_str());
}

void demand(bool holds, const std::string& what)
{
    if (!holds)
        complain("not reached: " + what);
}

supervisor::supervisor(const settings& how, double patience_s)
    : how_{how}, patience_{static_cast<std::uint64_t>(patience_s * 1e9)}
{
    void* const memory = ::mmap(nullptr, sizeof(figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    now = new (memory) figures{};
    ::prctl(PR_SET_CHILD_SUBREAPER, 1); // what a run leaves behind comes to us, and is seen
    struct sigaction on_interrupt {};
    on_interrupt.sa_handler = [](int) { interrupted = 1; };
    ::sigaction(SIGINT, &on_interrupt, nullptr);
    ::sigaction(SIGTERM, &on_interrupt, nullptr);
}

bool supervisor::carry_out(const run& r)
{
    now = new (now) figures{};
    began_ = clock_ns();
    beat();
    start(r);
    const int status = watch(r);
    clear();
    if (interrupted) {
        std::printf("%-4s %-18s interrupted\n", r.name, r.title);
        std::exit(130);
    }
    return tell(r, status);
}

void supervisor::start(const run& r)
{
    std::fflush(stdout);
    subject_ = ::fork();
    REQUIRE(subject_ >= 0);
    if (subject_ > 0)
        return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpgid(0, 0); // Ctrl-C is for the supervisor
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    try {
        r.body(how_);
    }
    catch (const std::exception& e) {
        complain(std::string{"the run threw: "} + e.what());
    }
    std::fflush(nullptr);
    ::_exit(now->complaints == 0 ? 0 : 71);
}

/// Until the run's process ends, or has to. Its status, as waitpid(2) gives it.
int supervisor::watch(const run& r)
{
    int status = 0;
    const bool terminal = ::isatty(STDERR_FILENO) == 1;
    for (unsigned round = 0;; ++round) {
        if (::waitpid(subject_, &status, WNOHANG) == subject_)
            break;
        const std::uint64_t last = now->beat; // first: it may be moved on meanwhile
        const bool stuck = clock_ns() - last > patience_;
        if (stuck)
            hung(r);
        if (stuck || interrupted) {
            ::kill(subject_, SIGKILL);
            ::waitpid(subject_, &status, 0);
            break;
        }
        if (terminal && round % 20 == 0)
            show_progress(r);
        wait_ms(10);
    }
    if (terminal)
        std::fputs("\r\x1b[K", stderr);
    return status;
}

void supervisor::show_progress(const run& r) const
{
    std::fprintf(stderr, "\r%s %s: %llu s, items %llu, kills %llu\x1b[K", r.name, r.title,
        static_cast<unsigned long long>((clock_ns() - began_) / second), static_cast<unsigned long long>(now->items),
        static_cast<unsigned long long>(now->kills));
}

void supervisor::hung(const run& r) const
{
    ++now->hangs;
    say("soak: " + std::string{r.name} + " hangs: no progress for " + std::to_string(patience_ / second)
        + " s. Its processes:");
    show_family(subject_);
}

/// Ends what is left of a run, and counts what would not have ended by itself.
void supervisor::clear()
{
    ::kill(-subject_, SIGKILL); // its helpers
    const bool gone = test::eventually([] {
        while (::waitpid(-1, nullptr, WNOHANG) > 0)
            ;
        return test::children().empty();
    });
    if (gone)
        return;
    for (const pid_t left : test::children()) {
        const std::string number = std::to_string(left);
        complain("process " + number + " was left behind: " + test::text_of("/proc/" + number + "/comm"));
        dump(left);
    }
    end_all_children();
}

bool supervisor::tell(const run& r, int status) const
{
    if (WIFSIGNALED(status) && now->hangs == 0)
        complain(std::string{"the run's own process was killed: "} + strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) != 0 && now->complaints == 0)
        complain("the run's own process exited with status " + std::to_string(WEXITSTATUS(status)));
    demand(now->items > 0, "anything to look at");
    demand(now->gap < longest_gap, "longest gap < 1 s");
    const auto n = [](const std::atomic<std::uint64_t>& figure) { return static_cast<unsigned long long>(figure); };
    const bool good = now->complaints + now->lost + now->twice + now->wrong + now->hangs == 0;
    std::string kills;
    if (r.counts_kills)
        kills = "kills " + std::to_string(n(now->kills)) + "  torn " + std::to_string(n(now->torn)) + "  ";
    std::printf("%-4s %-18s %-6s items %llu  %slost %llu  duplicates %llu  wrong %llu  hangs %llu  gap %llu ms  %.1f s%s%s\n",
        r.name, r.title, good ? "ok" : "FAILED", n(now->items), kills.c_str(), n(now->lost), n(now->twice), n(now->wrong),
        n(now->hangs), n(now->gap) / 1'000'000, static_cast<double>(clock_ns() - began_) / 1e9,
        now->remarks[0] != '\0' ? "  " : "", now->remarks);
    std::fflush(stdout);
    return good;
}

} // namespace soak
