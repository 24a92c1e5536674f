#include "system_call_filter.hpp"

#include <cofork/error.hpp>

#include <system_error>

#ifdef COFORK_SECCOMP

#include "owned_fd.hpp"

#include <cerrno>
#include <cstdlib>
#include <new>

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#endif

namespace cofork::detail {

namespace {

[[noreturn]] void invalid(const std::string& what)
{
    throw std::system_error{make_error_code(errc::invalid_options), what};
}

} // namespace

#ifdef COFORK_SECCOMP

namespace {

/// What computing in memory and the worker's own loop need.
constexpr const char* allowed[] = {
    "read", "write", "readv", "writev", "pread64", "pwrite64", "lseek", "close", "fstat", "fsync", "fdatasync", "ftruncate",
    "dup", "dup2", "dup3", "pipe", "pipe2", "poll", "ppoll", "select", "pselect6", "fcntl",
    "brk", "munmap", "mremap", "madvise", "msync",
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait", "sigaltstack", "pause",
    "futex", "set_robust_list", "rseq", "membarrier", "sched_yield", "sched_getaffinity", "restart_syscall",
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "times",
    "alarm", "setitimer", "getitimer", "timer_settime", "timer_gettime",
    "getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid", "getpgrp", "getrandom", "getrusage", "getrlimit",
    "getpriority", "uname", "sysinfo", "getcpu", "exit", "exit_group",
};

struct refusal {
    const char* name;
    int error;
};

/// What libraries try and can do without. The errors are those that they expect.
constexpr refusal refused[] = {
    {"clone3", ENOSYS}, {"clone", EAGAIN}, {"fork", EAGAIN}, {"vfork", EAGAIN}, {"memfd_create", ENOSYS},
    {"prctl", EPERM}, {"sched_setaffinity", EPERM}, {"sched_setscheduler", EPERM}, {"setpriority", EPERM},
    {"setrlimit", EPERM}, {"mlock", EPERM}, {"mlock2", EPERM}, {"mlockall", EPERM}, {"getcwd", EACCES}, {"chdir", EACCES},
    {"mkdir", EACCES}, {"mkdirat", EACCES}, {"rmdir", EACCES}, {"unlink", EACCES}, {"unlinkat", EACCES}, {"rename", EACCES},
    {"renameat", EACCES}, {"renameat2", EACCES}, {"link", EACCES}, {"linkat", EACCES}, {"symlink", EACCES},
    {"symlinkat", EACCES}, {"chmod", EACCES}, {"fchmod", EACCES}, {"fchmodat", EACCES}, {"chown", EACCES},
    {"fchown", EACCES}, {"creat", EACCES}, {"truncate", EACCES}, {"utimensat", EACCES}, {"flock", EACCES},
};

/// What looks at files by their names: landlock(7) has no say in that, so it is refused unless some may be read.
constexpr const char* lookups[] = {
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "stat", "lstat", "statx", "statfs", "fstatfs",
};

/// No honest library tries these in a computation.
constexpr const char* deadly[] = {
    "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "io_uring_setup", "io_uring_enter", "io_uring_register",
    "userfaultfd", "perf_event_open", "mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "keyctl", "add_key",
    "request_key", "socket", "socketpair", "connect", "bind", "execve", "execveat", "pidfd_open", "pidfd_getfd",
    "pidfd_send_signal", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "tkill", "init_module", "finit_module", "delete_module",
    "kexec_load", "open_by_handle_at", "setuid", "setgid", "setresuid", "setresgid", "shmget", "shmat", "semget", "msgget",
    "mq_open", "personality", "setsid", "setpgid",
};

/// libseccomp's own macros for these are C.
constexpr scmp_arg_cmp argument(unsigned which, scmp_compare how, scmp_datum_t mask_or_value, scmp_datum_t value = 0) noexcept
{
    return {which, how, mask_or_value, value};
}

/// A filter on its way. Only here does libseccomp speak.
class filter {
public:
    explicit filter(std::uint32_t otherwise) : context_{::seccomp_init(otherwise)}
    {
        if (!context_)
            throw std::bad_alloc{};
        check(::seccomp_attr_set(context_, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS)); // else the thread alone
    }
    ~filter() { ::seccomp_release(context_); }
    filter(const filter&) = delete;
    filter& operator=(const filter&) = delete;

    static int number(const char* name) { return ::seccomp_syscall_resolve_name(name); }

    /// A call that this machine's architecture does not have needs no rule.
    template <typename... Comparisons>
    void rule(const char* name, std::uint32_t action, Comparisons... comparisons)
    {
        rule(number(name), action, comparisons...);
    }
    template <typename... Comparisons>
    void rule(int call, std::uint32_t action, Comparisons... comparisons)
    {
        if (call >= 0)
            check(::seccomp_rule_add(context_, action, call, sizeof...(comparisons), comparisons...));
    }

    std::vector<sock_filter> program() const
    {
        const owned_fd file{::memfd_create("filter", MFD_CLOEXEC)};
        if (!file)
            throw std::system_error{errno, std::system_category(), "memfd_create"};
        check(::seccomp_export_bpf(context_, file.get()));
        const off_t size = ::lseek(file.get(), 0, SEEK_CUR);
        std::vector<sock_filter> code(static_cast<std::size_t>(size) / sizeof(sock_filter));
        if (::pread(file.get(), code.data(), static_cast<std::size_t>(size), 0) != size)
            throw std::system_error{errno, std::system_category(), "memfd_create"};
        return code;
    }

private:
    static void check(int result)
    {
        if (result == -ENOMEM)
            throw std::bad_alloc{};
        if (result < 0 && result != -EEXIST) // the policy has named it, too
            throw std::system_error{-result, std::system_category(), "libseccomp"};
    }

    scmp_filter_ctx context_;
};

void allow_memory(filter& f)
{
    // Shared memory is counted by no limit, and code that was made at run time is not ours to run.
    f.rule("mmap", SCMP_ACT_ALLOW, argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
        argument(3, SCMP_CMP_MASKED_EQ, MAP_TYPE, MAP_PRIVATE));
    f.rule("mmap", SCMP_ACT_ERRNO(EPERM), argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    f.rule("mmap", SCMP_ACT_ERRNO(EPERM), argument(3, SCMP_CMP_MASKED_EQ, MAP_SHARED, MAP_SHARED));
    for (const char* const call : {"mprotect", "pkey_mprotect"}) {
        f.rule(call, SCMP_ACT_ALLOW, argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
        f.rule(call, SCMP_ACT_ERRNO(EPERM), argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, PROT_EXEC));
    }
}

/// abort(3) sends itself a signal; nobody else gets one.
void allow_own_signals(filter& f)
{
    for (const char* const call : {"kill", "tgkill"}) {
        f.rule(call, SCMP_ACT_ALLOW, argument(0, SCMP_CMP_EQ, own_pid_placeholder));
        f.rule(call, SCMP_ACT_KILL_PROCESS, argument(0, SCMP_CMP_NE, own_pid_placeholder));
    }
}

void allow_files(filter& f, bool any_readable)
{
    constexpr unsigned writes = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
    // The argument is a bit set whose lowest two bits are an enumeration: O_RDONLY is 0 of them.
    if (any_readable) {
        f.rule("openat", SCMP_ACT_ALLOW, argument(2, SCMP_CMP_MASKED_EQ, writes, 0));
        f.rule("open", SCMP_ACT_ALLOW, argument(1, SCMP_CMP_MASKED_EQ, writes, 0));
        f.rule("newfstatat", SCMP_ACT_ALLOW);
        f.rule("getdents64", SCMP_ACT_ALLOW);
        for (const unsigned bit : {unsigned{O_WRONLY}, unsigned{O_RDWR}, unsigned{O_CREAT}, unsigned{O_TRUNC}, unsigned{O_APPEND}}) {
            f.rule("openat", SCMP_ACT_ERRNO(EACCES), argument(2, SCMP_CMP_MASKED_EQ, bit, bit));
            f.rule("open", SCMP_ACT_ERRNO(EACCES), argument(1, SCMP_CMP_MASKED_EQ, bit, bit));
        }
    }
    else {
        f.rule("openat", SCMP_ACT_ERRNO(EACCES));
        f.rule("open", SCMP_ACT_ERRNO(EACCES));
        // fstat(2) of glibc is this call with an empty path.
        f.rule("newfstatat", SCMP_ACT_ALLOW, argument(3, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, AT_EMPTY_PATH));
        f.rule("newfstatat", SCMP_ACT_ERRNO(EACCES), argument(3, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0));
        f.rule("getdents64", SCMP_ACT_ERRNO(EACCES));
    }
    f.rule("openat2", SCMP_ACT_ERRNO(ENOSYS)); // its flags lie in memory, where a filter cannot look
    for (const char* const call : lookups)
        f.rule(call, any_readable ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(EACCES));
}

bool is_chosen(const policy& wanted, const char* call)
{
    for (const std::string& name : wanted.system_calls) {
        if (filter::number(name.c_str()) == filter::number(call))
            return true;
    }
    return false;
}

std::vector<sock_filter> strict_filter(const policy& wanted)
{
    filter f{SCMP_ACT_TRAP}; // the crash report names what nobody thought of
    for (const char* const call : allowed)
        f.rule(call, SCMP_ACT_ALLOW);
    for (const std::string& call : wanted.system_calls)
        f.rule(call.c_str(), SCMP_ACT_ALLOW);
    for (const auto& [call, error] : refused) {
        if (!is_chosen(wanted, call))
            f.rule(call, SCMP_ACT_ERRNO(static_cast<unsigned>(error)));
    }
    for (const char* const call : deadly) {
        if (!is_chosen(wanted, call))
            f.rule(call, SCMP_ACT_KILL_PROCESS);
    }
    allow_memory(f);
    allow_own_signals(f);
    allow_files(f, !wanted.readable.empty());
    // Whether the nursery has taken what the worker printed.
    if (!is_chosen(wanted, "ioctl")) {
        f.rule("ioctl", SCMP_ACT_ALLOW, argument(1, SCMP_CMP_EQ, FIONREAD));
        f.rule("ioctl", SCMP_ACT_ERRNO(ENOTTY), argument(1, SCMP_CMP_NE, FIONREAD));
    }
    // To ask for a limit is harmless: the third argument is the new one.
    f.rule("prlimit64", SCMP_ACT_ALLOW, argument(0, SCMP_CMP_EQ, 0), argument(2, SCMP_CMP_EQ, 0));
    return f.program();
}

std::vector<sock_filter> no_processes_filter()
{
    filter f{SCMP_ACT_ALLOW};
    for (const char* const call : {"clone", "fork", "vfork"})
        f.rule(call, SCMP_ACT_ERRNO(EAGAIN));
    f.rule("clone3", SCMP_ACT_ERRNO(ENOSYS)); // libraries then try clone
    return f.program();
}

std::vector<sock_filter> filter_of(const policy& wanted)
{
    for (const std::string& name : wanted.system_calls) {
        if (filter::number(name.c_str()) == __NR_SCMP_ERROR)
            invalid("policy::system_calls: there is no system call " + name);
    }
    if (::seccomp_api_get() < 3) // libseccomp has asked the kernel, which has no way to kill a process (Linux 4.14), or is not reached
        return {};
    return wanted.level >= containment::strict ? strict_filter(wanted) : no_processes_filter();
}

} // namespace

std::string system_call_name(int number)
{
    char* const name = ::seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
    std::string text = name ? name : std::to_string(number);
    std::free(name);
    return text;
}

#else

namespace {

std::vector<sock_filter> filter_of(const policy&)
{
    return {};
}

} // namespace

std::string system_call_name(int number)
{
    return std::to_string(number);
}

#endif

std::shared_ptr<const sandbox_rules> make_rules(const policy& wanted)
{
    if (wanted.cpu.count() < 0)
        invalid("policy::cpu is negative");
    if (wanted.level == containment::hygiene)
        return nullptr;
    auto rules = std::make_shared<sandbox_rules>();
    rules->wanted = wanted;
    if (filters(wanted))
        rules->filter = filter_of(wanted); // without one the worker says why, and the policy decides what follows from that
    return rules;
}

} // namespace cofork::detail
