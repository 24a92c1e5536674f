#include "crash_handler.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>

#include <execinfo.h>
#include <ucontext.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

/// Ample for the unwinder, and for a signal frame with all of AMX (about 11 KiB, sigaltstack(2)).
constexpr std::size_t stack_bytes = 64 * 1024;
alignas(16) std::byte handler_stack[stack_bytes];

/// So far from the stack pointer a fault is the stack's: a large frame is skipped over before it is written to.
constexpr std::uint64_t stack_reach = 256 * 1024;
/// In a heap that is broken the unwinder may wait for ever.
constexpr unsigned patience_s = 2;

crash_facts* facts = nullptr;
pid_t owner = 0; // children of the worker have no page
volatile std::sig_atomic_t dying_of = 0;
std::terminate_handler terminate_before = nullptr;

struct position {
    std::uint64_t pc = 0;
    std::uint64_t sp = 0;
};

position position_of(const void* context) noexcept
{
    [[maybe_unused]] const auto& machine = static_cast<const ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    return {static_cast<std::uint64_t>(machine.gregs[REG_RIP]), static_cast<std::uint64_t>(machine.gregs[REG_RSP])};
#elif defined(__aarch64__)
    return {machine.pc, machine.sp};
#else
    return {}; // the frames tell
#endif
}

void copy_text(char* into, std::size_t size, const char* text) noexcept
{
    const std::size_t length = std::min(std::strlen(text), size - 1);
    std::memcpy(into, text, length);
    into[length] = '\0';
}

void walk_stack() noexcept
{
    std::array<void*, crash_facts::most_frames> frames;
    const int depth = ::backtrace(frames.data(), static_cast<int>(frames.size()));
    for (int i = 0; i < depth; ++i)
        facts->frames[i] = reinterpret_cast<std::uintptr_t>(frames[static_cast<std::size_t>(i)]);
    facts->depth = static_cast<std::uint32_t>(depth);
    facts->stage.store(2, std::memory_order_release);
}

void note(int signo, const siginfo_t& info, const void* context) noexcept
{
    const position at = position_of(context);
    facts->signal = signo;
    facts->pc = at.pc;
    const bool by_kernel = info.si_code > 0; // else somebody sent it, and it is about no address
    facts->has_address = by_kernel && (signo == SIGSEGV || signo == SIGBUS);
    facts->address = facts->has_address ? reinterpret_cast<std::uintptr_t>(info.si_addr) : 0;
    facts->system_call = by_kernel && signo == SIGSYS ? static_cast<std::uint32_t>(info.si_syscall) + 1 : 0;
    facts->stack_overflow = by_kernel && signo == SIGSEGV && at.sp != 0 && facts->address < at.sp + stack_reach
        && facts->address + stack_reach > at.sp;
    facts->stage.store(1, std::memory_order_release);
}

void die(int signo) noexcept
{
    ::signal(signo, SIG_DFL);
    sigset_t just_this;
    ::sigemptyset(&just_this);
    ::sigaddset(&just_this, signo);
    ::raise(signo);
    ::sigprocmask(SIG_UNBLOCK, &just_this, nullptr);
    ::_exit(128 + signo); // of a signal that does not kill
}

void on_patience_over(int) noexcept
{
    die(dying_of);
}

extern "C" void cofork_on_crash(int signo, siginfo_t* info, void* context)
{
    if (facts && ::getpid() == owner && dying_of == 0) {
        dying_of = signo;
        note(signo, *info, context); // first what cannot fail: walking a broken stack may crash itself
        ::signal(SIGALRM, on_patience_over);
        ::alarm(patience_s);
        walk_stack();
    }
    die(signo);
}

extern "C" void cofork_on_question(int, siginfo_t* info, void* context)
{
    if (facts && ::getpid() == owner && dying_of == 0) {
        dying_of = SIGKILL;
        note(SIGKILL, *info, context);
        walk_stack();
    }
    ::kill(::getpid(), SIGKILL);
}

/// In the middle of f, which goes on afterwards.
extern "C" void cofork_on_look(int signo, siginfo_t* info, void* context)
{
    if (!facts || ::getpid() != owner || dying_of != 0)
        return;
    const int error = errno;
    facts->stage.store(0, std::memory_order_release);
    facts->where[0] = facts->trace[0] = '\0'; // of an earlier look
    note(signo, *info, context);
    walk_stack();
    errno = error;
}

[[noreturn]] void on_terminate() noexcept
{
    if (const std::type_info* const type = ::getpid() == owner ? abi::__cxa_current_exception_type() : nullptr) {
        copy_text(facts->type, sizeof facts->type, type->name());
        try {
            throw;
        }
        catch (const std::exception& e) {
            copy_text(facts->what, sizeof facts->what, e.what());
        }
        catch (...) { // has no text
        }
    }
    if (terminate_before)
        terminate_before(); // says so on stderr, as programs are used to, and aborts
    std::abort();
}

} // namespace

void prepare_crash_handler() noexcept
{
    std::array<void*, 1> frame;
    (void)::backtrace(frame.data(), 1);
}

void install_crash_handler(crash_facts& into) noexcept
{
    facts = &into;
    owner = ::getpid();
    stack_t stack{};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof handler_stack;
    ::sigaltstack(&stack, nullptr);
    struct sigaction action {};
    action.sa_flags = static_cast<int>(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND); // a crash in the handler kills at once
    action.sa_sigaction = cofork_on_crash;
    for (const int signo : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGSYS, SIGTRAP})
        ::sigaction(signo, &action, nullptr);
    action.sa_sigaction = cofork_on_question;
    ::sigaction(question_signal(), &action, nullptr);
    action.sa_flags = static_cast<int>(SA_SIGINFO | SA_ONSTACK | SA_RESTART);
    action.sa_sigaction = cofork_on_look;
    ::sigaction(look_signal(), &action, nullptr);
    terminate_before = std::set_terminate(on_terminate);
}

void note_reason(const char* text) noexcept
{
    copy_text(facts->what, sizeof facts->what, text);
    facts->stage.store(1, std::memory_order_release);
}

int question_signal() noexcept
{
    return SIGRTMAX - 3;
}

int look_signal() noexcept
{
    return SIGRTMAX - 4;
}

} // namespace cofork::detail
