#include "sandbox.hpp"

#include "owned_fd.hpp"
#include "threads.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include <fcntl.h>
#include <grp.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif
#else
constexpr bool sanitized = false;
#endif

/// A worker that has used so many times the processor time of one item is replaced. The kernel counts the process, not the
/// item, and a limit that an item could move would be none.
constexpr int items_of_cpu = 20;

constexpr uid_t nobody = 65534;

// landlock(7). Debian 12's <linux/landlock.h> knows the first two versions only.
constexpr std::uint64_t fs_read_file = 1U << 2, fs_read_dir = 1U << 3;
constexpr std::uint64_t fs_of_version_1 = (1U << 13) - 1, fs_refer = 1U << 13, fs_truncate = 1U << 14, fs_ioctl = 1U << 15;
constexpr std::uint64_t net_bind = 1U << 0, net_connect = 1U << 1;
constexpr std::uint64_t scope_abstract_socket = 1U << 0, scope_signal = 1U << 1;
constexpr int landlock_with_net = 4, landlock_with_scope = 6;
constexpr int rule_path_beneath = 1;

struct landlock_ruleset {
    std::uint64_t fs;
    std::uint64_t net;
    std::uint64_t scoped;
};
struct [[gnu::packed]] landlock_path {
    std::uint64_t allowed;
    std::int32_t parent;
};

std::chrono::nanoseconds cpu_used() noexcept
{
    timespec used{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return std::chrono::seconds{used.tv_sec} + std::chrono::nanoseconds{used.tv_nsec};
}

class sandbox {
public:
    explicit sandbox(const sandbox_rules& rules) : wanted_{rules.wanted}, filter_{rules.filter} {}

    protection enter()
    {
        const bool alone = wanted_.level < containment::strict || is_alone();
        if (wanted_.level >= containment::limits) {
            part(protection::amounts, &sandbox::limit_amounts);
            if (wanted_.level >= containment::isolated) {
                part(protection::namespaces, &sandbox::leave_namespaces);
                part(protection::user, &sandbox::leave_user);
            }
            part(protection::no_privileges, &sandbox::drop_privileges);
        }
        if (wanted_.level >= containment::strict)
            part(protection::files, &sandbox::lock_files);
        if (filters(wanted_))
            part(protection::system_calls, &sandbox::filter_system_calls); // last: the others need what it forbids
        return alone ? on_ : on_ & of_all_threads;
    }

private:
    /// The kernel shuts the calling thread in, and what that starts. These parts alone hold for a whole process.
    static constexpr protection of_all_threads = protection::amounts | protection::user;

    bool is_alone() const
    {
        const auto others = other_threads(threads_that::can_act);
        if (others == 0U)
            return true;
        if (wanted_.missing == if_unavailable::refuse)
            throw sandbox_unavailable{
                others ? "sandbox: init left threads running, which would stay outside (also an io_uring with IORING_SETUP_SQPOLL has "
                         "one): they have to end before it returns; f may start its own where policy::system_calls has clone and clone3"
                       : "sandbox: nobody can tell whether init left threads running: /proc is not mounted"};
        return false;
    }

    void part(protection which, void (sandbox::*step)())
    {
        try {
            (this->*step)();
            on_ = on_ | which;
        }
        catch (const sandbox_unavailable&) {
            if (wanted_.missing == if_unavailable::refuse)
                throw;
        }
    }

    [[noreturn]] static void unavailable(const char* what, int error)
    {
        throw sandbox_unavailable{std::string{"sandbox: "} + what + ": " + std::strerror(error)};
    }
    static void require(long result, const char* what)
    {
        if (result < 0)
            unavailable(what, errno);
    }

    static void limit(int resource, rlim_t most, const char* what)
    {
        rlimit now{};
        ::getrlimit(static_cast<__rlimit_resource>(resource), &now);
        if (now.rlim_max != RLIM_INFINITY && now.rlim_max < most)
            most = now.rlim_max;
        const rlimit both{most, most};
        require(::setrlimit(static_cast<__rlimit_resource>(resource), &both), what);
        now = {RLIM_INFINITY, RLIM_INFINITY}; // what a filter around the program answers changes nothing
        if (::getrlimit(static_cast<__rlimit_resource>(resource), &now) != 0 || now.rlim_cur != most || now.rlim_max != most)
            throw sandbox_unavailable{std::string{"sandbox: "} + what + ": it is not what it was set to"};
    }

    void limit_amounts()
    {
        if (wanted_.file_size > 0)
            limit(RLIMIT_FSIZE, wanted_.file_size, "RLIMIT_FSIZE");
        if (wanted_.files > 0)
            limit(RLIMIT_NOFILE, wanted_.files, "RLIMIT_NOFILE");
        limit(RLIMIT_MEMLOCK, 0, "RLIMIT_MEMLOCK");
        limit(RLIMIT_MSGQUEUE, 0, "RLIMIT_MSGQUEUE");
        if (wanted_.cpu.count() > 0) {
            // In whole seconds, and beyond what cpu_alarm lets a process come to: this is for an item that has undone that.
            const auto all = std::chrono::ceil<std::chrono::seconds>(cpu_used() + (items_of_cpu + 1) * wanted_.cpu);
            limit(RLIMIT_CPU, static_cast<rlim_t>(all.count()) + 1, "RLIMIT_CPU");
        }
        if (wanted_.memory == 0)
            return;
        if (sanitized)
            throw sandbox_unavailable{"sandbox: RLIMIT_DATA: a sanitizer's shadow memory is beyond any limit"};
        limit(RLIMIT_DATA, data_bytes() + wanted_.memory, "RLIMIT_DATA");
    }

    /// What RLIMIT_DATA counts already: VmData of proc(5).
    static std::size_t data_bytes()
    {
        const owned_fd status{::open("/proc/self/status", O_RDONLY | O_CLOEXEC)};
        char text[4096];
        const ssize_t got = status ? ::read(status.get(), text, sizeof text - 1) : -1;
        text[got > 0 ? got : 0] = '\0';
        const char* const data = std::strstr(text, "VmData:");
        if (!data)
            throw sandbox_unavailable{"sandbox: RLIMIT_DATA: /proc/self/status does not tell VmData"};
        return std::strtoull(data + std::strlen("VmData:"), nullptr, 10) * 1024;
    }

    static ino_t inode_of(const char* path)
    {
        struct stat now {};
        return ::stat(path, &now) == 0 ? now.st_ino : 0;
    }

    /// A change of user makes the kernel forget whose death is ours.
    void rearm_death()
    {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent_)
            ::_exit(EXIT_FAILURE);
    }

    void leave_namespaces()
    {
        constexpr std::array names{"/proc/self/ns/net", "/proc/self/ns/ipc"};
        const std::array before{inode_of(names[0]), inode_of(names[1])};
        constexpr int spaces = CLONE_NEWNET | CLONE_NEWIPC;
        if (::unshare(spaces) < 0) // without the right to do so, we have it in a user namespace of our own
            require(::unshare(CLONE_NEWUSER | spaces), "namespaces (unshare(2))");
        rearm_death();
        for (std::size_t i = 0; i < names.size(); ++i) {
            if (before[i] == 0 || inode_of(names[i]) == before[i])
                throw sandbox_unavailable{std::string{"sandbox: namespaces: no other "} + names[i]};
        }
    }

    void leave_user()
    {
        if (::geteuid() == 0) {
            require(::setgroups(0, nullptr), "another user (setgroups(2))");
            require(::setresgid(nobody, nobody, nobody), "another user (setresgid(2))");
            require(::setresuid(nobody, nobody, nobody), "another user (setresuid(2))");
            rearm_death();
        }
        if (::geteuid() == 0 || ::setuid(0) == 0)
            throw sandbox_unavailable{"sandbox: another user: it is still root"};
    }

    void drop_privileges()
    {
        require(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges (prctl(2))");
        require(::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "not traceable (prctl(2))");
        if (::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
            throw sandbox_unavailable{"sandbox: no new privileges: they are still to be had"};
    }

    void lock_files()
    {
        const long version = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, 1);
        require(version, "landlock");
        landlock_ruleset rules{fs_of_version_1, 0, 0};
        rules.fs |= (version >= 2 ? fs_refer : 0) | (version >= 3 ? fs_truncate : 0) | (version >= 5 ? fs_ioctl : 0);
        if (version >= landlock_with_net)
            rules.net = net_bind | net_connect;
        if (version >= landlock_with_scope)
            rules.scoped = scope_abstract_socket | scope_signal;
        const owned_fd set{static_cast<int>(::syscall(SYS_landlock_create_ruleset, &rules, size_of(version), 0))};
        require(set.get(), "landlock");
        for (const std::string& path : wanted_.readable)
            allow_reading(set.get(), path);
        ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); // it demands that
        require(::syscall(SYS_landlock_restrict_self, set.get(), 0), "landlock");
        if (owned_fd{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)} && !readable("/"))
            throw sandbox_unavailable{"sandbox: landlock: files can still be opened"};
        if (version < landlock_with_scope)
            return;
        if (::kill(parent_, 0) == 0 || errno != EPERM)
            throw sandbox_unavailable{"sandbox: landlock: signals still reach the program's processes"};
        on_ = on_ | protection::signals;
    }

    static std::size_t size_of(long version) noexcept
    {
        if (version >= landlock_with_scope)
            return sizeof(landlock_ruleset);
        return version >= landlock_with_net ? offsetof(landlock_ruleset, scoped) : offsetof(landlock_ruleset, net);
    }

    bool readable(const char* path) const
    {
        for (const std::string& each : wanted_.readable) {
            if (each == path)
                return true;
        }
        return false;
    }

    static void allow_reading(int set, const std::string& path)
    {
        const owned_fd folder{::open(path.c_str(), O_PATH | O_CLOEXEC)};
        if (!folder)
            unavailable(("policy::readable: " + path).c_str(), errno);
        struct stat what {};
        ::fstat(folder.get(), &what);
        landlock_path rule{S_ISDIR(what.st_mode) ? fs_read_file | fs_read_dir : fs_read_file, folder.get()};
        require(::syscall(SYS_landlock_add_rule, set, rule_path_beneath, &rule, 0), "landlock");
    }

    void filter_system_calls()
    {
        if (sanitized)
            throw sandbox_unavailable{"sandbox: seccomp: a sanitizer needs system calls that it forbids"};
        if (filter_.empty())
            throw sandbox_unavailable{"sandbox: seccomp: this cofork was built without libseccomp, or the kernel refuses seccomp(2)"};
        const auto mine = static_cast<std::uint32_t>(::getpid());
        for (sock_filter& each : filter_)
            each.k = each.k == own_pid_placeholder ? mine : each.k;
        const sock_fprog program{static_cast<unsigned short>(filter_.size()), filter_.data()};
        require(::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
        if (!is_filtered())
            throw sandbox_unavailable{"sandbox: seccomp: system calls are not filtered"};
    }

    /// Both calls fail without the filter, too, in another way: EISDIR, and EINVAL since handlers of signals are shared by those
    /// alone who share memory.
    bool is_filtered() const
    {
        if (wanted_.level >= containment::strict)
            return ::syscall(SYS_openat, AT_FDCWD, "/", O_WRONLY) == -1 && errno == EACCES;
        return ::syscall(SYS_clone, CLONE_SIGHAND, nullptr, nullptr, nullptr, 0) == -1 && errno == EAGAIN;
    }

    const policy& wanted_;
    std::vector<sock_filter> filter_;
    const pid_t parent_ = ::getppid();
    protection on_ = protection::none;
};

} // namespace

protection enter_sandbox(const sandbox_rules& rules)
{
    return sandbox{rules}.enter();
}

cpu_alarm::cpu_alarm(const sandbox_rules* rules)
{
    if (!rules || rules->wanted.level < containment::limits || rules->wanted.cpu.count() <= 0)
        return;
    sigevent by_signal{};
    by_signal.sigev_notify = SIGEV_SIGNAL;
    by_signal.sigev_signo = SIGXCPU;
    if (::timer_create(CLOCK_PROCESS_CPUTIME_ID, &by_signal, &timer_) < 0)
        throw sandbox_unavailable{std::string{"sandbox: timer_create: "} + std::strerror(errno)};
    limit_ = rules->wanted.cpu;
    most_ = cpu_used() + items_of_cpu * limit_;
}

void cpu_alarm::set(std::chrono::nanoseconds left) noexcept
{
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const itimerspec when{{}, {seconds.count(), (left - seconds).count()}};
    ::timer_settime(timer_, 0, &when, nullptr);
}

bool cpu_alarm::begin() noexcept
{
    if (limit_.count() == 0)
        return true;
    if (cpu_used() > most_)
        return false;
    set(limit_);
    return true;
}

void cpu_alarm::end() noexcept
{
    if (limit_.count() > 0)
        set(std::chrono::nanoseconds{0});
}

} // namespace cofork::detail
