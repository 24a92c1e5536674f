#include "nursery.hpp"

#include "crash_handler.hpp"
#include "family.hpp"
#include "nursery_socket.hpp"
#include "output_taps.hpp"
#include "process.hpp"
#include "slot_memory.hpp"
#include "symboliser.hpp"
#include "worker.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <limits>
#include <optional>
#include <vector>

#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

class nursery {
public:
    explicit nursery(const nursery_setup& setup)
        : setup_{setup}, socket_{above_stdio(owned_fd{setup.control})}, children_(setup.slots),
          symboliser_{setup.pages, setup.slots}
    {
        close_others(std::array{socket_.descriptor()});
        leave_program(); // here, so that workers inherit it
        ::prctl(PR_SET_NAME, "cofork-nursery");
        taps_.emplace(setup.pages, setup.slots, setup.life.output);
        parent_ = owned_fd{pidfd_open(setup_.parent)};
        sigset_t child_ends;
        ::sigemptyset(&child_ends);
        ::sigaddset(&child_ends, SIGCHLD);
        ended_ = owned_fd{::signalfd(-1, &child_ends, SFD_CLOEXEC | SFD_NONBLOCK)};
    }

    [[noreturn]] void run()
    {
        if (!ended_ || ::getppid() != setup_.parent || !open_arenas()) // it died before we could watch it
            ::_exit(EXIT_FAILURE);
        std::vector<pollfd> watched;
        for (;;) {
            watched.assign({{socket_.descriptor(), socket_.events(), 0}, {ended_.get(), POLLIN, 0}, {parent_.get(), POLLIN, 0},
                {symboliser_.descriptor(), POLLIN, 0}});
            const std::size_t own = watched.size();
            taps_->watch(watched);
            if (::poll(watched.data(), watched.size(), patience()) < 0 && errno != EINTR)
                end();
            taps_->serve(watched.data() + own);
            if (watched[2].revents != 0)
                end();
            if (watched[1].revents != 0)
                reap_ended();
            if ((watched[0].revents & ~POLLOUT) != 0)
                hear();
            if ((watched[0].revents & POLLOUT) != 0 && !socket_.tell_rest())
                end();
            if (watched[3].revents != 0)
                hear_names();
            if (waiting_ > 0)
                end_waits();
        }
    }

private:
    /// Here, once, for all workers: they inherit the access. The parent counts on it when there are any.
    bool open_arenas() const noexcept
    {
        return !setup_.arenas || ::mprotect(setup_.arenas, setup_.slots * sizeof(arena), PROT_READ | PROT_WRITE) == 0;
    }

    struct child {
        pid_t pid = 0; // 0: the slot is free, or its worker is dead and being named
        std::uint64_t generation = 0;
        std::int64_t until = 0;               // when the wait for its answer or for its names is over; 0: no wait
        std::optional<nursery_report> ending; // to be told once the names of its crash are there
        bool looked_at = false;               // it is to tell where it is, and goes on
        bool naming = false;                  // and has told: its functions are being named
    };

    /// A worker that was asked where it is has so long to tell.
    static constexpr std::int64_t answer_ms = 20;
    /// The symboliser reads debug information the first time: ample for most programs.
    static constexpr std::int64_t naming_ms = 2000;

    /// When it ends, what workers printed and the program's stdout did not take is tried for so long: less than the program
    /// waits for the nursery.
    static constexpr int last_words_ms = 200;

    static std::int64_t now_ms() noexcept
    {
        timespec t{};
        ::clock_gettime(CLOCK_MONOTONIC, &t);
        return std::int64_t{t.tv_sec} * 1000 + t.tv_nsec / 1'000'000;
    }

    /// For poll(2).
    int patience() const noexcept
    {
        if (waiting_ == 0)
            return -1;
        std::int64_t first = std::numeric_limits<std::int64_t>::max();
        for (const child& c : children_)
            first = c.until != 0 ? std::min(first, c.until) : first;
        return static_cast<int>(std::max<std::int64_t>(first - now_ms(), 0) + 1); // its clock is finer than ours
    }

    void begin_wait(child& c, std::int64_t ms) noexcept
    {
        end_wait(c);
        c.until = now_ms() + ms;
        ++waiting_;
    }
    void end_wait(child& c) noexcept
    {
        waiting_ -= c.until != 0 ? 1 : 0;
        c.until = 0;
    }

    void end_waits() noexcept
    {
        const std::int64_t now = now_ms();
        for (child& c : children_) {
            if (c.until == 0 || now < c.until)
                continue;
            end_wait(c);
            if (c.looked_at && !c.naming) {
                c.naming = has_told(slot_of(c)) && symboliser_.ask(slot_of(c));
                if (c.naming)
                    begin_wait(c, naming_ms);
                else
                    tell_seen(c);
                continue;
            }
            if (c.naming) {
                symboliser_.give_up();
                return tell_all_unnamed();
            }
            if (c.pid != 0)
                kill_family(c.pid); // it did not answer
            if (c.ending) {
                symboliser_.give_up();
                return tell_all_unnamed();
            }
        }
    }

    void hear() noexcept
    {
        nursery_request request{};
        std::array<owned_fd, 2> pipes;
        const ssize_t got = socket_.receive(request, pipes);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            return;
        if (got != sizeof request || request.slot >= children_.size())
            end(); // 0: the parent closed the socket, or is gone
        switch (request.verb) {
        case nursery_verb::spawn: return spawn(request, std::move(pipes[0]), std::move(pipes[1]));
        case nursery_verb::kill: return kill_child(request);
        case nursery_verb::question: return question_child(request);
        case nursery_verb::look: return look_at_child(request);
        }
    }

    void spawn(const nursery_request& request, owned_fd jobs, owned_fd results) noexcept
    {
        nursery_report report{nursery_news::spawned, request.slot, request.generation, 0, 0, 0, 0, 0, 0};
        // Received short of descriptors: the limit of this process (EMFILE) cut the message.
        const bool whole = jobs && results && taps_->open(request.slot);
        const pid_t pid = whole ? ::fork() : -1;
        if (pid == 0)
            become_worker(request.slot, std::move(jobs), std::move(results));
        if (pid < 0) {
            report.news = nursery_news::refused;
            report.error = whole ? errno : EMFILE;
            taps_->close(request.slot);
        }
        else {
            taps_->forked(request.slot, pid);
            ::setpgid(pid, pid); // here and in the worker: whoever comes first
            children_[request.slot] = {pid, request.generation, 0, {}, false, false};
            report.pid = pid;
        }
        tell(report);
    }

    [[noreturn]] void become_worker(std::uint32_t slot, owned_fd jobs, owned_fd results) noexcept
    {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL); // of the thread that forked: the nursery has only this one
        if (::getppid() != self_)           // it died first
            ::_exit(EXIT_FAILURE);
        ::setpgid(0, 0);                    // kill(0, ...) in f stays in f's own family
        ::prctl(PR_SET_NAME, "cofork-worker");
        const int jobs_fd = jobs.release();
        const int results_fd = results.release();
        std::vector<int> printing;
        taps_->redirect(slot, printing);
        std::vector<int> kept{jobs_fd, results_fd};
        kept.insert(kept.end(), printing.begin(), printing.end());
        std::ranges::sort(kept);
        close_others(kept);
        (void)parent_.release(); // their numbers are closed already
        (void)ended_.release();
        page* const own = keep_only(setup_.pages, setup_.slots, slot);
        arena* const large = setup_.arenas ? keep_only(setup_.arenas, setup_.slots, slot) : nullptr;
        offer_to_oom_killer();
        ++worker_depth;
        unblock_signals();
        worker_setup setup{jobs_fd, results_fd, own, large, setup_.life, printing};
        if (slot < setup_.kept)
            setup.life.idle_ns = 0;
        worker_main(setup);
    }

    void kill_child(const nursery_request& request) noexcept
    {
        const child& target = children_[request.slot];
        if (target.pid != 0 && target.generation == request.generation)
            kill_family(target.pid);
    }

    void question_child(const nursery_request& request) noexcept
    {
        child& target = children_[request.slot];
        if (target.pid == 0 || target.generation != request.generation)
            return;
        target.looked_at = target.naming = false;
        ::kill(target.pid, question_signal());
        begin_wait(target, answer_ms);
    }

    void look_at_child(const nursery_request& request) noexcept
    {
        child& target = children_[request.slot];
        if (target.pid == 0 || target.generation != request.generation || target.until != 0)
            return;
        setup_.pages[request.slot].crash.stage.store(0, std::memory_order_release);
        ::kill(target.pid, look_signal());
        target.looked_at = true;
        begin_wait(target, answer_ms);
    }

    std::uint32_t slot_of(const child& c) const noexcept { return static_cast<std::uint32_t>(&c - children_.data()); }
    bool has_told(std::uint32_t slot) const noexcept
    {
        return setup_.pages[slot].crash.stage.load(std::memory_order_acquire) != 0;
    }

    void tell_seen(child& c) noexcept
    {
        end_wait(c);
        c.looked_at = c.naming = false;
        tell({nursery_news::seen, slot_of(c), c.generation, c.pid, 0, 0, 0, 0, 0});
    }

    void reap_ended() noexcept
    {
        signalfd_siginfo ignored;
        while (::read(ended_.get(), &ignored, sizeof ignored) > 0) {
        }
        for (;;) {
            siginfo_t info{};
            if (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == EINTR)
                continue;
            if (info.si_pid == 0)
                return;
            kill_family(info.si_pid); // whoever f left behind in its process group ends with the worker
            rusage used{};
            ::wait4(info.si_pid, nullptr, 0, &used);
            symboliser_.reaped(info.si_pid);
            report_end(info, used);
        }
    }

    static std::uint64_t nanoseconds(const timeval& t) noexcept
    {
        return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_usec) * 1'000;
    }

    void report_end(const siginfo_t& info, const rusage& used) noexcept
    {
        for (std::uint32_t slot = 0; slot < children_.size(); ++slot) {
            child& c = children_[slot];
            if (c.pid != info.si_pid)
                continue;
            end_wait(c);
            c.looked_at = c.naming = false;
            c.pid = 0;
            taps_->close(slot);
            c.ending = {nursery_news::ended, slot, c.generation, info.si_pid, 0, info.si_code, info.si_status,
                nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime), static_cast<std::uint64_t>(used.ru_maxrss) * 1024};
            if (has_told(slot) && symboliser_.ask(slot))
                begin_wait(c, naming_ms);
            else
                tell_ending(c);
            return;
        }
        // Not a worker: the symboliser, or a process that a worker left behind, adopted by us as the subreaper.
    }

    void hear_names() noexcept
    {
        while (symboliser_.descriptor() >= 0) {
            const auto slot = symboliser_.answer();
            if (slot && *slot < children_.size() && children_[*slot].ending)
                tell_ending(children_[*slot]);
            else if (slot && *slot < children_.size() && children_[*slot].naming)
                tell_seen(children_[*slot]);
            else if (!slot)
                break;
        }
        if (symboliser_.descriptor() < 0)
            tell_all_unnamed();
    }

    void tell_all_unnamed() noexcept
    {
        for (child& c : children_) {
            if (c.ending)
                tell_ending(c);
            else if (c.naming)
                tell_seen(c);
        }
    }

    void tell_ending(child& c) noexcept
    {
        end_wait(c);
        const nursery_report report = *c.ending;
        c = {};
        tell(report);
    }

    [[noreturn]] void end() noexcept
    {
        for (const child& c : children_) {
            if (c.pid != 0)
                kill_family(c.pid);
        }
        end_all_children();
        for (std::uint32_t slot = 0; slot < children_.size(); ++slot)
            taps_->close(slot);
        taps_->flush(last_words_ms);
        ::_exit(EXIT_SUCCESS);
    }

    void tell(const nursery_report& report) noexcept
    {
        if (!socket_.tell(report))
            end(); // the parent is gone; or there is no memory, and nobody knows for how long: it makes another one
    }

    const nursery_setup setup_;
    nursery_socket socket_;
    const pid_t self_ = ::getpid();
    std::vector<child> children_;
    owned_fd parent_; // a pidfd: a fork elsewhere in the program may hold the control socket open past its death
    owned_fd ended_;
    symboliser symboliser_;
    std::optional<output_taps> taps_; // made once the program's descriptors are closed
    int waiting_ = 0; // children with a time limit
};

} // namespace

[[noreturn]] void nursery_main(const nursery_setup& setup) noexcept
{
    nursery{setup}.run();
}

} // namespace cofork::detail
