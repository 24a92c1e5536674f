#pragma once
// What a worker may try: each probe does one forbidden thing, and says whether it could.

#include <array>
#include <cerrno>
#include <clocale>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace test::probes {

/// Inherited by the workers: the program that tries them sets it before it makes the pool.
inline pid_t program = 0;
inline std::uint16_t port = 0; ///< of a listener on loopback

/// 0: done. Else the errno of what stopped it.
inline int result(long value)
{
    return value < 0 ? errno : 0;
}

inline int open_path(const char* path, int flags)
{
    const int fd = ::open(path, flags | O_CLOEXEC, 0600);
    const int why = result(fd);
    if (fd >= 0)
        ::close(fd);
    return why;
}

inline std::string temporary()
{
    return "/tmp/cofork-probe-" + std::to_string(program);
}

inline int reads_a_file() { return open_path("/etc/passwd", O_RDONLY); }
inline int makes_a_file()
{
    const int why = open_path(temporary().c_str(), O_WRONLY | O_CREAT);
    ::unlink(temporary().c_str());
    return why;
}
inline int reads_the_program() { return open_path(("/proc/" + std::to_string(program) + "/mem").c_str(), O_RDWR); }

inline int connects()
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    sockaddr_in there{};
    there.sin_family = AF_INET;
    there.sin_port = htons(port);
    there.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int why = result(::connect(fd, reinterpret_cast<const sockaddr*>(&there), sizeof there));
    ::close(fd);
    return why;
}

inline int binds_a_port()
{
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int why = result(::bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here));
    ::close(fd);
    return why;
}

inline int binds_an_abstract_name()
{
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    sockaddr_un here{};
    here.sun_family = AF_UNIX;
    std::memcpy(here.sun_path, "\0cofork-probe", 13);
    const int why = result(::bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof here));
    ::close(fd);
    return why;
}

/// That the program listens on.
inline sockaddr_un abstract_name()
{
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::memcpy(name.sun_path + 1, &program, sizeof program);
    return name;
}

inline int connects_to_an_abstract_name()
{
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    const sockaddr_un there = abstract_name();
    const int why = result(::connect(fd, reinterpret_cast<const sockaddr*>(&there), sizeof there));
    ::close(fd);
    return why;
}

inline int signals_the_program() { return result(::kill(program, 0)); }
inline int signals_its_parent() { return result(::kill(::getppid(), 0)); }
inline int signals_its_group() { return result(::kill(0, 0)); }
inline int signals_everybody() { return result(::kill(-1, 0)); }
inline int signals_a_thread_of_the_program() { return result(::syscall(SYS_tgkill, program, program, 0)); }
inline int signals_itself()
{
    ::signal(SIGUSR1, SIG_IGN);
    return result(::raise(SIGUSR1));
}

inline int writes_into_the_program()
{
    static int here = 1;
    iovec part{&here, sizeof here};
    return result(::process_vm_writev(program, &part, 1, &part, 1, 0));
}

inline int takes_a_descriptor()
{
    const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, program, 0));
    const int fd = pidfd < 0 ? -1 : static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, 0, 0));
    const int why = result(fd);
    ::close(fd);
    ::close(pidfd);
    return why;
}

inline int starts_a_program()
{
    char path[] = "/bin/true";
    char* const arguments[] = {path, nullptr};
    pid_t pid = 0;
    const int why = ::posix_spawn(&pid, path, nullptr, nullptr, arguments, environ);
    if (why == 0)
        ::waitpid(pid, nullptr, 0);
    return why;
}

inline int becomes_another_program()
{
    char path[] = "/bin/no-such-program";
    char* const arguments[] = {path, nullptr};
    ::execve(path, arguments, environ);
    return errno == ENOENT ? 0 : errno; // the kernel looked for it: it would have been allowed
}

inline int forks()
{
    const pid_t pid = ::fork();
    if (pid == 0)
        ::_exit(0);
    const int why = result(pid);
    if (pid > 0)
        ::waitpid(pid, nullptr, 0);
    return why;
}

inline int starts_a_thread()
{
    try {
        std::thread{[] {}}.join();
        return 0;
    }
    catch (const std::system_error& e) {
        return e.code().value();
    }
}

inline int maps(int protection, int flags, std::size_t bytes)
{
    void* const memory = ::mmap(nullptr, bytes, protection, flags | MAP_ANONYMOUS, -1, 0);
    const int why = memory == MAP_FAILED ? errno : 0;
    if (why == 0)
        ::munmap(memory, bytes);
    return why;
}
inline int maps_code() { return maps(PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, 4096); }
inline int shares_memory() { return maps(PROT_READ | PROT_WRITE, MAP_SHARED, std::size_t{300} << 20); }
inline int turns_data_into_code()
{
    void* const memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const int why = result(::mprotect(memory, 4096, PROT_READ | PROT_EXEC));
    ::munmap(memory, 4096);
    return why;
}

inline int makes_a_file_in_memory()
{
    const int fd = ::memfd_create("probe", MFD_CLOEXEC);
    const int why = result(fd);
    ::close(fd);
    return why;
}

inline int makes_a_ring()
{
    alignas(8) std::array<char, 256> parameters{};
    const int fd = static_cast<int>(::syscall(SYS_io_uring_setup, 4, parameters.data()));
    const int why = result(fd);
    ::close(fd);
    return why;
}

inline int looks_at_the_programs_limits()
{
    rlimit limit{};
    return result(::syscall(SYS_prlimit64, program, RLIMIT_NOFILE, nullptr, &limit));
}

/// The smallest map of bpf(2).
inline int makes_a_map()
{
    alignas(8) const std::array<std::uint32_t, 32> attributes{2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1};
    const int fd = static_cast<int>(::syscall(SYS_bpf, 0 /* BPF_MAP_CREATE */, attributes.data(), sizeof attributes));
    const int why = result(fd);
    ::close(fd);
    return why;
}

/// The kernel looks for the file system last: without one nothing is mounted, and who may not mount does not come so far.
inline int mounts()
{
    return ::mount("none", "/", "no-such-file-system", 0, nullptr) < 0 && errno == ENODEV ? 0 : errno;
}

inline int starts_a_session() { return result(::setsid()); }

inline int terminal = -1; ///< of the worker, which has it from its init

inline int opens_a_terminal()
{
    const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64] = "";
    if (master >= 0 && ::unlockpt(master) == 0 && ::ptsname_r(master, name, sizeof name) == 0)
        terminal = ::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return terminal;
}

/// Into the terminal, as if a person had: whoever reads it next, a shell, does what it says.
inline int types() { return result(::ioctl(terminal, TIOCSTI, "x")); }

inline int handles_page_faults()
{
    const int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC));
    const int why = result(fd);
    ::close(fd);
    return why;
}

inline int asks_for_a_keyring() { return result(::syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -1, 1)); }
inline int leaves_its_namespaces() { return result(::unshare(CLONE_NEWUTS)); }
inline int is_traced() { return result(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr)); }
inline int gains_privileges() { return ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0 ? 0 : EPERM; }
inline int can_be_traced() { return ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1 ? 0 : EPERM; }
inline int is_root() { return ::geteuid() == 0 ? 0 : EPERM; }

inline int shares_a_segment()
{
    const int id = ::shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    const int why = result(id);
    if (id >= 0)
        ::shmctl(id, IPC_RMID, nullptr);
    return why;
}

inline int loads_a_library() { return ::dlopen("libdl.so.2", RTLD_NOW | RTLD_LOCAL) || ::dlopen("libutil.so.1", RTLD_NOW) ? 0 : EACCES; }

inline int opens_many_files()
{
    std::vector<int> open;
    int why = 0;
    while (why == 0 && open.size() < 400) {
        open.push_back(::dup(0));
        why = result(open.back());
    }
    for (const int fd : open)
        ::close(fd);
    return why;
}

inline int takes_much_memory()
{
    const std::vector<char> much(std::size_t{300} << 20, 'x');
    const volatile char* const last = &much.back(); // volatile: else clang leaves it out
    return *last == 'x' ? 0 : 1;
}

inline int writes_a_large_file()
{
    const int fd = ::open(temporary().c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return errno;
    ::unlink(temporary().c_str());
    const std::vector<char> much(std::size_t{2} << 20);
    const int why = result(::write(fd, much.data(), much.size()));
    const int last = why != 0 ? why : result(::write(fd, much.data(), much.size()));
    ::close(fd);
    return last;
}

#if defined(__x86_64__)
/// The table of system calls of 32-bit programs: getpid is 20 there, which is writev in ours.
inline int calls_by_the_old_way()
{
    long answer = 20;
    asm volatile("int $0x80" : "+a"(answer) : : "memory", "r8", "r9", "r10", "r11");
    return answer == ::getpid() ? 0 : ENOSYS;
}

/// The numbers of x32, another way around a filter that knows only ours. Most kernels are built without, and say so: then the call
/// has reached them all the same.
inline int calls_in_x32()
{
    const long answer = ::syscall(SYS_getpid | 0x40000000);
    return answer == ::getpid() || errno == ENOSYS ? 0 : errno;
}
#endif

/// What f is there for, at any level.
inline int computes()
{
    std::ostringstream text;
    text << std::random_device{}() % 7 << ' ' << 1.5 << ' ' << std::this_thread::get_id();
    const std::time_t now = std::time(nullptr);
    std::tm local{};
    ::localtime_r(&now, &local);
    (void)std::setlocale(LC_ALL, "C.UTF-8");
    const std::regex word{"[a-z]+"};
    std::vector<std::string> many(1000, "text that is too long for the small buffer");
    volatile char stack[7 * 1024 * 1024];
    stack[0] = 1;
    stack[sizeof stack - 1] = 1;
    std::printf("%s", std::regex_match("word", word) ? "" : "no match");
    try {
        throw std::runtime_error{many.back()};
    }
    catch (const std::exception& e) {
        return std::strlen(e.what()) > 10 && !text.str().empty() ? 0 : 1;
    }
}

} // namespace test::probes
