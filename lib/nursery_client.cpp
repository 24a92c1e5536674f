#include "nursery_client.hpp"

#include "copied_descriptor.hpp"
#include "crash_handler.hpp"
#include "nursery.hpp"
#include "process.hpp"

#include <asio/post.hpp>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iostream>
#include <new>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

/// How long a nursery may take to reap its workers before it is killed itself: a worker of 1 GiB takes 0.1 s to die.
constexpr int patience_ms = 10'000;
/// By a place at rest: some 64 MiB. To touch fresh memory costs more than to copy.
constexpr std::uint32_t arenas_kept = 12;
constexpr std::chrono::milliseconds again_after{10};

/// What is set aside and not used must not be missing elsewhere.
bool has_few_addresses() noexcept
{
    rlimit most{};
    return ::getrlimit(RLIMIT_AS, &most) != 0 || most.rlim_cur != RLIM_INFINITY;
}

[[noreturn]] void fail(int error, const char* call)
{
    throw std::system_error{error, std::system_category(), call};
}

} // namespace

shared_pages::shared_pages(std::uint32_t count) : pages_{nullptr}, count_{count}, open_(count), used_(count), had_(count)
{
    void* const memory = ::mmap(nullptr, count * sizeof(page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail(errno, "mmap");
    pages_ = static_cast<page*>(memory); // zero-filled by the kernel, which is what every field starts as
    if (!has_few_addresses())
        map_arenas();
}

/// As addresses only: MAP_NORESERVE for what is never touched, no access for a program that locks all its memory
/// (mlockall(2)), and not in its core: that would touch all of it.
void shared_pages::map_arenas() noexcept
{
    const std::size_t size = count_ * sizeof(arena);
    void* const memory = ::mmap(nullptr, size, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return; // what is large goes by the pipes
    ::madvise(memory, size, MADV_DONTDUMP);
    arenas_ = static_cast<arena*>(memory);
}

arena* shared_pages::open_arena(std::uint32_t slot) noexcept
{
    if (arenas_ && !open_[slot])
        open_[slot] = ::mprotect(arenas_ + slot, sizeof(arena), PROT_READ | PROT_WRITE) == 0;
    used_[slot] = open_[slot];
    return open_[slot] ? arenas_ + slot : nullptr;
}

void shared_pages::clear_arena(std::uint32_t slot) noexcept
{
    if (had_[slot] && open_arena(slot)) // madvise(2) wants access
        give_back(slot);
    had_[slot] = true;
}

void shared_pages::give_back(std::uint32_t slot) noexcept
{
    ::madvise(arenas_ + slot, sizeof(arena), MADV_REMOVE);
    used_[slot] = false;
}

void shared_pages::trim_arenas() noexcept
{
    for (std::uint32_t slot = arenas_kept; slot < count_; ++slot)
        if (used_[slot])
            give_back(slot);
}

shared_pages::~shared_pages()
{
    if (arenas_)
        ::munmap(arenas_, count_ * sizeof(arena));
    ::munmap(pages_, count_ * sizeof(page));
}

nursery_client::nursery_client(const asio::any_io_executor& ex, std::uint32_t slots, const worker_life& life,
    std::uint32_t kept, std::shared_ptr<std::recursive_mutex> guard)
    : pages_{std::make_shared<shared_pages>(slots)}, guard_{std::move(guard)}, control_{ex}, pidfd_{ex},
      patience_{ex}, again_{ex}
{
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        fail(errno, "socketpair");
    owned_fd ours{ends[0]};
    owned_fd theirs{ends[1]};
    // Before the fork: after it a failure would leave a process to clean up.
    control_.assign(ours.get());
    (void)ours.release();
    fork_nursery(std::move(theirs), life, kept);
}

void nursery_client::fork_nursery(owned_fd control, const worker_life& life, std::uint32_t kept)
{
    std::cout.flush(); // unsynchronised with stdio it has a buffer of its own, which cannot be purged in the child
    const nursery_setup setup{control.get(), ::getpid(), pages_->get(), pages_->arenas(), pages_->count(), life, kept};
    prepare_crash_handler();
    int error = 0;
    {
        const signals_blocked blocked;
        pid_ = ::fork();
        error = errno;
        if (pid_ == 0)
            nursery_main(setup);
    }
    if (pid_ < 0)
        fail(error, "fork");
    // Still our unreaped child, so the number cannot have been reused in between.
    try {
        owned_fd pidfd{pidfd_open(pid_)};
        if (!pidfd)
            fail(errno, "pidfd_open");
        pidfd_.assign(pidfd.get());
        (void)pidfd.release();
    }
    catch (...) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        throw;
    }
}

nursery_client::~nursery_client()
{
    end();
}

void nursery_client::spawn(std::uint32_t slot, std::uint64_t generation, owned_fd jobs, owned_fd results)
{
    post({{nursery_verb::spawn, slot, generation}, std::move(jobs), std::move(results)});
}

void nursery_client::kill(std::uint32_t slot, std::uint64_t generation)
{
    post({{nursery_verb::kill, slot, generation}, {}, {}});
}

void nursery_client::question(std::uint32_t slot, std::uint64_t generation)
{
    post({{nursery_verb::question, slot, generation}, {}, {}});
}

void nursery_client::look(std::uint32_t slot, std::uint64_t generation)
{
    post({{nursery_verb::look, slot, generation}, {}, {}});
}

void nursery_client::post(request r)
{
    unsent_.push_back(std::move(r));
    if (!flushing_)
        flush();
}

void nursery_client::flush()
{
    sending last = sending::done;
    while (!unsent_.empty() && (last = send(unsent_.front())) == sending::done)
        unsent_.pop_front();
    if (unsent_.empty())
        return;
    auto go_on = [self = weak_from_this()](std::error_code ec) {
        if (const auto client = self.lock()) {
            const std::lock_guard lock{*client->guard_};
            client->flushing_ = false;
            if (!ec)
                client->flush();
        }
    };
    if (last == sending::full)
        control_.async_wait(asio::posix::stream_descriptor::wait_write, std::move(go_on));
    else {
        again_.expires_after(again_after); // the socket can be written to, and would say so at once
        again_.async_wait(std::move(go_on));
    }
    flushing_ = true;
}

/// A nursery that is gone is no error here: the watch reports it.
nursery_client::sending nursery_client::send(const request& r) noexcept
{
    nursery_request what = r.what;
    iovec data{&what, sizeof what};
    alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (r.jobs) {
        const int fds[2] = {r.jobs.get(), r.results.get()};
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* const part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(sizeof fds);
        std::memcpy(CMSG_DATA(part), fds, sizeof fds);
    }
    for (;;) {
        if (::sendmsg(control_.native_handle(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return sending::done;
        switch (errno) {
        case EINTR: break;
        case EAGAIN: return sending::full;
        case EPIPE:
        case ECONNRESET:
        case ENOTCONN:
        case EBADF: return sending::done;
        default: return sending::refused; // ENOMEM, ENOBUFS, ETOOMANYREFS: for the moment
        }
    }
}

void nursery_client::watch(std::shared_ptr<nursery_user> user)
{
    user_ = std::move(user);
    if (!waiting_)
        wait_for_report();
}

void nursery_client::unwatch() noexcept
{
    user_.reset();
    pages_->trim_arenas();
    asio::error_code ignored;
    control_.cancel(ignored);
}

void nursery_client::wait_for_report()
{
    control_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](std::error_code) {
        if (!self->made_here_)
            return;
        const std::lock_guard lock{*self->guard_};
        self->waiting_ = false;
        if (self->user_)
            self->read_reports();
        if (self->user_ && !self->waiting_ && self->control_.is_open())
            self->wait_for_report();
    });
    waiting_ = true; // only now: there may be no memory for the wait
}

void nursery_client::read_reports()
{
    for (;;) {
        const auto user = user_; // a report may end the watch
        if (!user || !control_.is_open())
            return;
        nursery_report report;
        const ssize_t got = ::recv(control_.native_handle(), &report, sizeof report, MSG_DONTWAIT);
        if (got == sizeof report)
            user->on_report(report);
        else if (got < 0 && errno == EINTR)
            continue;
        else if (got < 0 && errno == EAGAIN)
            return user->on_reports_read();
        else {
            user_.reset();
            user->on_nursery_lost();
            return;
        }
    }
}

void nursery_client::async_end(std::function<void()> done)
{
    user_.reset();
    asio::error_code ignored;
    control_.close(ignored); // tells the nursery to end
    if (!pidfd_.is_open())
        return asio::post(control_.get_executor(), std::move(done));
    // It may have been stopped, by a debugger or by an f that signals its parent.
    patience_.expires_after(std::chrono::milliseconds{patience_ms});
    patience_.async_wait([self = shared_from_this()](std::error_code ec) {
        const std::lock_guard lock{*self->guard_}; // another thread may be in end()
        if (!ec && self->pidfd_.is_open())
            pidfd_kill(self->pidfd_.native_handle(), SIGKILL);
    });
    pidfd_.async_wait(
        asio::posix::stream_descriptor::wait_read, [self = shared_from_this(), done = std::move(done)](std::error_code) {
            const std::lock_guard lock{*self->guard_};
            self->patience_.cancel();
            self->reap();
            done();
        });
}

void nursery_client::end() noexcept
{
    user_.reset();
    if (!made_here_) {
        close_copy(control_);
        close_copy(pidfd_);
        return;
    }
    asio::error_code ignored;
    control_.close(ignored);
    if (!pidfd_.is_open())
        return;
    pollfd ended{pidfd_.native_handle(), POLLIN, 0};
    int ready = 0;
    do
        ready = ::poll(&ended, 1, patience_ms);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        pidfd_kill(pidfd_.native_handle(), SIGKILL); // its workers follow it (PR_SET_PDEATHSIG)
    reap();
}

void nursery_client::reap() noexcept
{
    if (!pidfd_.is_open())
        return;
    // ECHILD: the program reaps all its children itself, or ignores SIGCHLD. Either way it is gone.
    siginfo_t info{};
    while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.native_handle()), &info, WEXITED) < 0 && errno == EINTR) {
    }
    asio::error_code ignored;
    pidfd_.close(ignored);
}

} // namespace cofork::detail
