#include "blame.hpp"

#include "printable.hpp"
#include "system_call_filter.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>

#include <sys/wait.h>

namespace cofork::detail {

namespace {

/// What the worker said of its end, when that is how it ended.
void add_crash(failure& why, const page_view& page)
{
    const auto said = page.crash();
    if (!said || said->signal != why.signal)
        return;
    why.backtrace = said->trace;
    if (why.kind == failure_kind::timeout) {
        if (!said->where.empty())
            why.what += ", in " + said->where;
        return;
    }
    why.address = said->address.value_or(0);
    why.stack_overflow = said->stack_overflow;
    if (said->stack_overflow)
        why.what += ", stack overflow";
    else if (said->address)
        why.what += " at address " + hexadecimal(*said->address);
    if (!said->where.empty())
        why.what += " in " + said->where;
    if (!said->type.empty())
        why.what += ", after an uncaught " + said->type + (said->what.empty() ? "" : ": " + said->what);
    else if (!said->what.empty())
        why.what += ": " + said->what;
}

/// Which of the policy's limits ended it, if one did.
limited limit_of(const worker_end& end, int signal)
{
    if (!end.rules)
        return limited::none;
    const policy& wanted = end.rules->wanted;
    // The kernel's own limit kills outright, when an item has taken the gentler one away. Clocks that count ticks and those that
    // count time differ, and it lies at least a second beyond what all items together may take.
    const bool late = signal == SIGKILL && end.cpu.count() > 0 && end.told
                      && std::chrono::nanoseconds{end.told->cpu_ns} > end.cpu - std::chrono::seconds{1};
    if (wanted.cpu.count() > 0 && (signal == SIGXCPU || late))
        return limited::cpu;
    if (wanted.file_size > 0 && signal == SIGXFSZ)
        return limited::file_size;
    return signal == SIGSYS && filters(wanted) ? limited::system_call : limited::none;
}

void add_limit(failure& why, const page_view& page)
{
    why.kind = failure_kind::limit;
    if (why.limit == limited::cpu)
        why.what += ": it took more processor time than policy::cpu";
    else if (why.limit == limited::file_size)
        why.what += ": a file became larger than policy::file_size";
    else if (const auto said = page.crash(); said && said->system_call)
        why.what += ": system call " + system_call_name(*said->system_call) + " is not allowed";
    else
        why.what += ": a system call that no policy allows";
}

} // namespace

failure blame(const worker_end& end, const page_view& page, int pid, bool is_target)
{
    failure why;
    why.kind = failure_kind::crashed;
    why.pid = pid;
    why.output = page.printed();
    if (const auto since = page.last_start())
        why.elapsed = std::max(std::chrono::steady_clock::now() - *since, std::chrono::steady_clock::duration{0});
    if (end.told && end.told->code == CLD_EXITED)
        why.exit_code = end.told->status;
    else
        why.signal = end.told ? end.told->status : SIGKILL; // of a lost nursery: its workers were killed with it
    // We kill by SIGKILL. A worker may have ended otherwise before that, and the news of it waits for the names of its crash.
    const bool by_itself = end.told && (end.told->code == CLD_EXITED || end.told->status != SIGKILL);
    if (end.reason == kill_reason::timeout && is_target && !by_itself) {
        why.kind = failure_kind::timeout;
        why.what = "did not end in time; the worker was killed";
        add_crash(why, page);
    }
    else if (end.reason == kill_reason::protocol) {
        why.kind = failure_kind::protocol;
        why.what = end.detail ? end.detail : "";
    }
    else if (end.reason == kill_reason::cancelled)
        why.kind = failure_kind::cancelled;
    else {
        why.what = ending_text(why.signal, why.exit_code);
        why.limit = limit_of(end, why.signal);
        if (why.limit != limited::none)
            add_limit(why, page);
        add_crash(why, page);
    }
    return why;
}

} // namespace cofork::detail
