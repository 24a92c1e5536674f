#include "nursery.hpp"

#include "process.hpp"
#include "worker.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <stdio_ext.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

class nursery {
public:
    explicit nursery(const nursery_setup& setup) : setup_{setup}, children_(setup.slots)
    {
        setup_.control = above_stdio(owned_fd{setup.control}).release();
        close_others(std::array{setup_.control});
        settle();
        parent_ = owned_fd{pidfd_open(setup_.parent)};
        sigset_t child_ends;
        ::sigemptyset(&child_ends);
        ::sigaddset(&child_ends, SIGCHLD);
        ended_ = owned_fd{::signalfd(-1, &child_ends, SFD_CLOEXEC | SFD_NONBLOCK)};
    }

    [[noreturn]] void run()
    {
        if (!ended_ || ::getppid() != setup_.parent) // it died before we could watch it
            ::_exit(EXIT_FAILURE);
        for (;;) {
            std::array<pollfd, 3> watched{{{setup_.control, POLLIN, 0}, {ended_.get(), POLLIN, 0}, {parent_.get(), POLLIN, 0}}};
            if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR)
                end();
            if (watched[2].revents != 0)
                end();
            if (watched[1].revents != 0)
                reap_ended();
            if (watched[0].revents != 0)
                hear();
        }
    }

private:
    struct child {
        pid_t pid = 0; // 0: the slot is free
        std::uint64_t generation = 0;
    };

    /// What the workers inherit and never have to do themselves.
    void settle() noexcept
    {
        unmap_rings();
        default_signals();
        ::setpgid(0, 0); // Ctrl-C is for the program, which decides what becomes of us
        ::prctl(PR_SET_CHILD_SUBREAPER, 1);
        ::prctl(PR_SET_NAME, "cofork-nursery");
        const rlimit none{0, 0}; // a core dump of 1 GiB takes seconds, and the item waits for it
        ::setrlimit(RLIMIT_CORE, &none);
        ::__fpurge(stdout); // unwritten text of the program would be written once more by every worker
        ::__fpurge(stderr);
        // In a process group of our own a read from the terminal would stop the worker for ever (SIGTTIN).
        const owned_fd nothing{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        if (nothing)
            ::dup2(nothing.get(), STDIN_FILENO);
    }

    void hear() noexcept
    {
        nursery_request request{};
        std::array<owned_fd, 2> pipes;
        const ssize_t got = receive(request, pipes);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            return;
        if (got != sizeof request || request.slot >= children_.size())
            end(); // 0: the parent closed the socket, or is gone
        if (request.verb == nursery_verb::kill)
            kill_child(request);
        else
            spawn(request, std::move(pipes[0]), std::move(pipes[1]));
    }

    ssize_t receive(nursery_request& request, std::array<owned_fd, 2>& pipes) noexcept
    {
        iovec data{&request, sizeof request};
        alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
        msghdr message{};
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        const ssize_t got = ::recvmsg(setup_.control, &message, MSG_CMSG_CLOEXEC);
        const cmsghdr* const part = got < 0 ? nullptr : CMSG_FIRSTHDR(&message);
        if (part && part->cmsg_type == SCM_RIGHTS) {
            int fds[2] = {-1, -1};
            std::memcpy(fds, CMSG_DATA(part), std::min<std::size_t>(part->cmsg_len - CMSG_LEN(0), sizeof fds));
            pipes[0].reset(fds[0]);
            pipes[1].reset(fds[1]);
        }
        return got;
    }

    void spawn(const nursery_request& request, owned_fd jobs, owned_fd results) noexcept
    {
        nursery_report report{nursery_news::spawned, request.slot, request.generation, 0, 0, 0, 0};
        // Received short of descriptors: the limit of this process (EMFILE) cut the message.
        const pid_t pid = jobs && results ? ::fork() : -1;
        if (pid == 0)
            become_worker(request.slot, std::move(jobs), std::move(results));
        if (pid < 0) {
            report.news = nursery_news::refused;
            report.error = jobs && results ? errno : EMFILE;
        }
        else {
            ::setpgid(pid, pid); // here and in the worker: whoever comes first
            children_[request.slot] = {pid, request.generation};
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
        close_others(std::array{std::min(jobs_fd, results_fd), std::max(jobs_fd, results_fd)});
        (void)parent_.release(); // their numbers are closed already
        (void)ended_.release();
        keep_only_page(slot);
        raise_oom_score();
        ++worker_depth;
        unblock_signals();
        const worker_setup setup{jobs_fd, results_fd, setup_.pages + slot, setup_.inherited, setup_.state};
        worker_main(setup);
    }

    /// What two workers shared, one of them could use against the other; and a grandchild has no business there.
    void keep_only_page(std::uint32_t slot) noexcept
    {
        page* const own = setup_.pages + slot;
        if (slot > 0)
            ::munmap(setup_.pages, slot * sizeof(page));
        if (slot + 1 < setup_.slots)
            ::munmap(own + 1, (setup_.slots - slot - 1) * sizeof(page));
        ::madvise(own, sizeof(page), MADV_DONTFORK);
    }

    /// When memory runs out, the worker is the one to go, not the program.
    static void raise_oom_score() noexcept
    {
        const owned_fd score{::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC)};
        if (score)
            (void)!::write(score.get(), "500", 3);
    }

    void kill_child(const nursery_request& request) noexcept
    {
        const child& target = children_[request.slot];
        if (target.pid != 0 && target.generation == request.generation)
            kill_family(target.pid);
    }

    /// Precondition: `pid` is a child that has not been reaped, so that neither number can be a stranger's.
    static void kill_family(pid_t pid) noexcept
    {
        ::kill(-pid, SIGKILL);
        ::kill(pid, SIGKILL);
    }

    void reap_ended() noexcept
    {
        signalfd_siginfo ignored;
        while (::read(ended_.get(), &ignored, sizeof ignored) > 0) {
        }
        siginfo_t info{};
        while (::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0) {
            kill_family(info.si_pid); // whoever f left behind in its process group ends with the worker
            ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED);
            report_end(info);
            info = {};
        }
    }

    void report_end(const siginfo_t& info) noexcept
    {
        for (std::uint32_t slot = 0; slot < children_.size(); ++slot) {
            if (children_[slot].pid != info.si_pid)
                continue;
            tell({nursery_news::ended, slot, children_[slot].generation, info.si_pid, 0, info.si_code, info.si_status});
            children_[slot] = {};
            return;
        }
        // Not a worker: a process that one of them left behind, adopted by us as the subreaper.
    }

    void tell(const nursery_report& report) noexcept
    {
        while (::send(setup_.control, &report, sizeof report, MSG_NOSIGNAL) < 0) {
            if (errno != EINTR)
                end();
        }
    }

    /// Kills and reaps all children until none is left: workers first, then what they leave to us by dying.
    [[noreturn]] void end() noexcept
    {
        for (const child& c : children_) {
            if (c.pid != 0)
                kill_family(c.pid);
        }
        kill_adopted();
        siginfo_t info{};
        while (::waitid(P_ALL, 0, &info, WEXITED | WNOWAIT) == 0 || errno == EINTR) {
            if (info.si_pid != 0) {
                kill_family(info.si_pid);
                ::waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED);
            }
            info = {};
            kill_adopted();
        }
        ::_exit(EXIT_SUCCESS);
    }

    /// The kernel lists our children by number; those that are not workers came to us when their parent died.
    static void kill_adopted() noexcept
    {
        char text[4096];
        const owned_fd list{::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC)};
        const ssize_t got = list ? ::read(list.get(), text, sizeof text - 1) : -1;
        if (got <= 0)
            return;
        text[got] = '\0';
        for (char* next = text; *next != '\0';) {
            char* end = nullptr;
            const long pid = std::strtol(next, &end, 10);
            if (end == next)
                return;
            if (pid > 1)
                ::kill(static_cast<pid_t>(pid), SIGKILL);
            next = end + (*end == ' ' ? 1 : 0);
        }
    }

    nursery_setup setup_;
    const pid_t self_ = ::getpid();
    std::vector<child> children_;
    owned_fd parent_; // a pidfd: a fork elsewhere in the program may hold the control socket open past its death
    owned_fd ended_;
};

} // namespace

[[noreturn]] void nursery_main(const nursery_setup& setup) noexcept
{
    nursery{setup}.run();
}

} // namespace cofork::detail
