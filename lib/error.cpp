#include <cofork/error.hpp>

#include <string>

namespace cofork {
namespace {

const char* text_of(errc e) noexcept
{
    switch (e) {
    case errc::threads_running:
        return "other threads run in this process, perhaps started by Asio's resolver or use_future behind the "
               "program's back, and may hold locks that a forked worker would wait for: make a cofork::pool before "
               "the threads start, or set options::with_threads";
    case errc::spawn_failed:
        return "not one worker could be started: raise the limits on processes (ulimit -u, the cgroup's pids.max), "
               "descriptors (ulimit -n) and memory, or lower options::workers";
    case errc::nursery_lost:
        return "the process that forks the workers was killed from outside: look for the out-of-memory killer in "
               "the kernel's log, then call again or make a new pool";
    case errc::pool_closed:
        return "the pool was closed or destroyed before the call ended: keep it until its calls have completed";
    case errc::deadline:
        return "options::deadline passed before every item had an outcome: raise it, or take the results as they "
               "come with cofork::stream";
    case errc::boot_failed:
        return "the pool's workers die or throw before their first item: call pool_options::init in this process "
               "to see why";
    case errc::invalid_options:
        return "an option has a value that no place can honour: correct the one that is named";
    case errc::callback_threw:
        return "options::on_error or options::progress threw, and this completion can carry only a code: catch the "
               "exception inside of the callback";
    case errc::nested_too_deep:
        return "workers of workers asked for workers too many times over: set options::workers = 0 in the innermost "
               "call, which then runs its items itself";
    case errc::overloaded:
        return "the pool serves as many calls as pool_options::max_calls allows: try later, raise it, or let calls wait with "
               "when_full::wait";
    case errc::forked_copy:
        return "this process is a fork, perhaps a worker, and the pool is that of the process that made it: make a pool "
               "here, or call without one";
    }
    return nullptr;
}

class category final : public std::error_category {
public:
    const char* name() const noexcept override { return "cofork"; }

    std::string message(int value) const override
    {
        if (const char* text = text_of(static_cast<errc>(value)))
            return text;
        return "unknown cofork error " + std::to_string(value);
    }
};

// Never destroyed: a pool of static storage may outlive every static of this file and still report an error.
union immortal_category {
    constexpr immortal_category() noexcept : value{} {}
    ~immortal_category() {}

    category value;
};

constinit immortal_category the_category;

} // namespace

const std::error_category& error_category() noexcept
{
    return the_category.value;
}

} // namespace cofork
