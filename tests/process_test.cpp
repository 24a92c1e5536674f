// The discipline of fork: signals, descriptors, whole reads and writes.

#include "support/faults.hpp"

#include "process.hpp"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <vector>

namespace {

using namespace cofork::detail;

volatile std::sig_atomic_t handled = 0;

void on_signal(int)
{
    handled = handled + 1;
}

class handler {
public:
    explicit handler(int signo) : signo_{signo}
    {
        struct sigaction action {};
        action.sa_handler = on_signal;
        ::sigaction(signo, &action, &before_);
        handled = 0;
    }
    ~handler() { ::sigaction(signo_, &before_, nullptr); }
    handler(const handler&) = delete;
    handler& operator=(const handler&) = delete;

private:
    int signo_;
    struct sigaction before_ {};
};

pipe_ends make()
{
    return make_pipe();
}

} // namespace

TEST_CASE("signals wait while they are blocked, and come afterwards", "[process]")
{
    const handler usr1{SIGUSR1};
    {
        const signals_blocked blocked;
        ::raise(SIGUSR1);
        CHECK(handled == 0);
    }
    CHECK(handled == 1);
    {
        const signals_blocked outer;
        {
            const signals_blocked inner;
        }
        ::raise(SIGUSR1);
        CHECK(handled == 1); // still blocked: the inner one has restored what it found
    }
    CHECK(handled == 2);
}

TEST_CASE("after default_signals and unblock_signals every signal means what it means in a new program", "[process]")
{
    const test::leaves_nothing nothing;
    const handler usr1{SIGUSR1};
    struct sigaction ignore {}, before {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &before);
    test::helper_process child{[] {
        const signals_blocked blocked;
        default_signals();
        for (int signo = 1; signo < NSIG; ++signo) {
            struct sigaction now {};
            if (::sigaction(signo, nullptr, &now) == 0 && now.sa_handler != SIG_DFL)
                ::_exit(signo);
        }
        unblock_signals();
        ::raise(SIGUSR1);
        ::_exit(99);
    }};
    const int status = child.status();
    ::sigaction(SIGPIPE, &before, nullptr);
    CHECK(WIFSIGNALED(status));
    CHECK(WTERMSIG(status) == SIGUSR1);
}

TEST_CASE("close_others closes all descriptors above stdio but those it is told", "[process]")
{
    const test::leaves_nothing nothing;
    test::helper_process child{[] {
        std::array<int, 20> fds{};
        for (int& fd : fds)
            fd = ::open("/dev/null", O_RDONLY);
        const std::array keep{fds[3], fds[4], fds[17]};
        const int high = ::fcntl(fds[0], F_DUPFD, 900);
        close_others(keep);
        const auto open = [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; };
        int wrong = open(high) ? 1 : 0;
        for (int fd = 0; fd < 3; ++fd)
            wrong += open(fd) ? 0 : 1;
        for (const int fd : fds)
            wrong += open(fd) == (fd == keep[0] || fd == keep[1] || fd == keep[2]) ? 0 : 1;
        close_others({});
        for (const int fd : fds)
            wrong += open(fd) ? 1 : 0;
        ::_exit(wrong);
    }};
    CHECK(child.status() == 0);
}

TEST_CASE("a descriptor on a number of stdio is moved away from there", "[process]")
{
    const test::leaves_nothing nothing;
    test::helper_process child{[] {
        ::close(0);
        owned_fd low{::open("/dev/null", O_RDONLY | O_CLOEXEC)};
        if (low.get() != 0)
            ::_exit(1);
        const owned_fd moved = above_stdio(std::move(low));
        if (moved.get() < 3 || ::fcntl(0, F_GETFD) >= 0 || (::fcntl(moved.get(), F_GETFD) & FD_CLOEXEC) == 0)
            ::_exit(2);
        const int before = moved.get();
        owned_fd same{::fcntl(before, F_DUPFD_CLOEXEC, 3)};
        const int number = same.get();
        if (above_stdio(std::move(same)).get() != number)
            ::_exit(3);
    }};
    CHECK(child.status() == 0);
}

TEST_CASE("whole writes meet whole reads, in spite of interrupting signals", "[process]")
{
    const test::leaves_nothing nothing;
    const handler usr1{SIGUSR1}; // without SA_RESTART
    pipe_ends ends = make();
    constexpr std::size_t size = 3'000'000;
    const pid_t reader = ::getpid();
    test::helper_process writer{[&] {
        std::vector<std::byte> bytes(size);
        for (std::size_t i = 0; i < size; ++i)
            bytes[i] = static_cast<std::byte>(i * 13);
        for (std::size_t at = 0; at < size; at += size / 30) {
            ::kill(reader, SIGUSR1);
            if (!write_all(ends.write.get(), bytes.data() + at, size / 30))
                ::_exit(1);
        }
    }};
    ends.write.reset();
    std::vector<std::byte> got(size);
    REQUIRE(read_all(ends.read.get(), got.data(), size));
    bool same = true;
    for (std::size_t i = 0; i < size; ++i)
        same = same && got[i] == static_cast<std::byte>(i * 13);
    CHECK(same);
    CHECK_FALSE(read_all(ends.read.get(), got.data(), 1)); // the end of the file
    CHECK(handled > 0);
    CHECK(writer.status() == 0);
}

TEST_CASE("a write to a pipe without a reader fails where SIGPIPE is blocked", "[process]")
{
    const test::leaves_nothing nothing;
    test::helper_process child{[] {
        const signals_blocked blocked;
        pipe_ends ends = make();
        ends.read.reset();
        const std::byte b{};
        ::_exit(write_all(ends.write.get(), &b, 1) ? 1 : 0);
    }};
    CHECK(child.status() == 0);
}

TEST_CASE("a pidfd kills the process that it was made for", "[process]")
{
    const test::leaves_nothing nothing;
    test::helper_process child{[] { test::hang(); }};
    const owned_fd pidfd{pidfd_open(child.pid())};
    REQUIRE(pidfd);
    CHECK(pidfd_kill(pidfd.get(), SIGKILL) == 0);
    CHECK(WTERMSIG(child.status()) == SIGKILL);
    CHECK(pidfd_kill(pidfd.get(), SIGKILL) == -1);
    CHECK(errno == ESRCH);
    CHECK(pidfd_open(-1) == -1);
}
