// S6: the k-th call of a kind fails, in the program, its nursery or its workers. Whatever comes of it, it comes in time, it
// is an error that says so or the right value, and afterwards everything works.

#include "checks.hpp"

#include "failing.hpp"
#include "ledger.hpp"
#include "supervisor.hpp"

#include "../support/faults.hpp"
#include "../support/shared.hpp"

#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>

#include <asio/io_context.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <new>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

namespace soak {

namespace {

using namespace std::chrono_literals;

/// A case takes milliseconds, and under a sanitizer a second or two. But where each nursery ends after its first worker, and
/// never one item is begun, the crew waits for 10 ms up to 640 before the next: four seconds, and again from the start whenever
/// an item was begun after all. Less than the watchdog's patience with a whole run.
constexpr auto patience = 25s;
constexpr auto standstill = 2s; ///< where it may stand still

struct kind {
    system_call what;
    int error;
    bool passes = false; ///< never lasts: asking again is right, and would for ever be in vain
};

constexpr kind kinds[] = {
    {system_call::fork, EAGAIN},
    {system_call::pipe2, EMFILE},
    {system_call::socketpair, EMFILE},
    {system_call::pidfd_open, EMFILE},
    {system_call::mmap, ENOMEM},
    {system_call::mprotect, ENOMEM},
    {system_call::close_range, ENOSYS},
    {system_call::prctl, EINVAL},
    {system_call::signalfd, EMFILE},
    {system_call::io_uring_enter, EINTR, true},
    {system_call::io_uring_enter, EAGAIN},
    {system_call::waitid, EINTR, true},
    {system_call::read, EINTR, true},
    {system_call::read, EIO, true},
    {system_call::write, EINTR, true},
    {system_call::write, EIO, true},
    {system_call::send, EINTR, true},
    {system_call::send, ENOBUFS},
    {system_call::recv, EINTR, true},
    {system_call::recv, ECONNRESET},
    {system_call::sendmsg, EINTR, true},
    {system_call::sendmsg, ENOBUFS, true},
    {system_call::sendmsg, ENOMEM, true},
    {system_call::recvmsg, EINTR, true},
    {system_call::recvmsg, ENOMEM},
    {system_call::poll, EINTR, true},
    {system_call::poll, ENOMEM},
    {system_call::memory, ENOMEM},
};

/// Whoever is told EINTR asks again, and nobody notices.
bool changes_nothing(const fault& f)
{
    return f.error == EINTR;
}

/// Asio itself is not safe there (1.22.1: strand_impl's destructor after a failed allocation of it), so the program may end or
/// stand still. But no value is wrong, and none of its processes outlives it.
bool out_of_memory(const fault& f)
{
    return f.what == system_call::memory && f.where == part::program;
}

constexpr int items_of_a_call = 20;
constexpr int dies = 7;
constexpr int large = 11;
constexpr int mapped = 13; // has a mapping of its own, where that may fail
std::size_t huge_bytes = 0;

std::string f(int x)
{
    if (x == dies)
        ::kill(::getpid(), SIGKILL);
    const std::size_t size = x == large ? 300'000 : x == mapped ? huge_bytes : static_cast<std::size_t>(x);
    return std::string(size, static_cast<char>('a' + x));
}

/// The process of one case: what is made and called while calls fail, and the proof afterwards.
class subject {
public:
    explicit subject(fault_plan& plan) : plan_{plan}
    {
        huge_bytes = plan.what.what == system_call::mprotect || plan.what.what == system_call::mmap ? 5'000'000 : 13;
    }

    void run()
    {
        std::optional<test::leaves_nothing> nothing;
        if (!out_of_memory(plan_.what))
            nothing.emplace();
        std::set_terminate([] { std::abort(); }); // here and in workers: without a word, there are many
        asio::io_context context{1};
        std::optional<cofork::pool> pool;
        play(&plan_);
        plan_.armed = true;
        attempt([&] { pool.emplace(context, cofork::pool_options{.workers = 2}); });
        if (pool)
            attempt([&] { look_at(test::run(context, call(*pool))); });
        attempt([&] { look_at(test::run(context, call(context))); });
        attempt([&] { cofork::pool{context, {.workers = 1}}.close(); });
        plan_.armed = false;
        if (pool && !out_of_memory(plan_.what))
            test::still_works(context, *pool);
        test::snapshot_works(context);
    }

private:
    using outcomes = std::vector<cofork::outcome<std::string>>;

    asio::awaitable<outcomes> call(cofork::pool& pool) const
    {
        co_return co_await cofork::try_parallel(pool, f, numbers_);
    }
    asio::awaitable<outcomes> call(asio::io_context&) const
    {
        const cofork::options two{.workers = 2};
        co_return co_await cofork::try_parallel(f, numbers_, two);
    }

    [[nodiscard]] bool may_fail() const { return plan_.fired > 0 && !changes_nothing(plan_.what); }

    template <typename Body>
    void attempt(Body body)
    {
        std::string what;
        try {
            return body();
        }
        catch (const std::system_error& e) {
            what = e.what();
        }
        catch (const std::bad_alloc& e) {
            what = e.what();
        }
        if (!may_fail())
            complain("nothing has failed, and yet: " + what);
    }

    void look_at(const outcomes& all) const
    {
        // For lack of memory the input may end early, as one that throws does: its last outcome says so.
        CHECK(all.size() == numbers_.size() || (may_fail() && !all.empty() && !all.back()));
        for (std::size_t i = 0; i < all.size(); ++i) {
            const int x = numbers_[i];
            if (all[i] && (*all[i] != f(x) || x == dies)) {
                ++now->wrong;
                complain("item " + std::to_string(x) + " has a wrong value");
            }
            if (!all[i] && x != dies && !may_fail())
                complain("nothing has failed, and yet: " + describe(all[i].error()));
        }
    }

    fault_plan& plan_;
    const std::vector<int> numbers_ = test::numbers(items_of_a_call);
};

std::string name_of(const fault& what)
{
    return std::string{to_string(what.what)} + " (" + ::strerrorname_np(what.error) + "), call " + std::to_string(what.k)
        + (what.lasting ? " and all that follow" : "") + ", in the " + to_string(what.where);
}

bool has_ended(pid_t child)
{
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child;
}

/// Orphans of the case come to us, its subreaper.
bool nobody_left()
{
    return test::eventually([] {
        while (::waitpid(-1, nullptr, WNOHANG) > 0)
            ;
        return test::children().empty();
    });
}

struct sums {
    std::uint64_t fired = 0;
    std::uint64_t spoilt = 0; ///< for lack of memory, see out_of_memory()
    unsigned highest = 0;
};

/// Whether it fired.
bool play_out(const fault& what, sums& all)
{
    beat();
    const test::shared<fault_plan> plan;
    plan->what = what;
    const std::uint64_t before = now->complaints + now->wrong;
    test::helper_process process{[&] { subject{*plan}.run(); }};
    const bool spoils = out_of_memory(what);
    const bool ended = test::eventually([&] { return has_ended(process.pid()); }, spoils ? standstill : patience);
    if (!ended && !spoils) {
        ++now->hangs;
        show_family(process.pid());
    }
    const int status = ended ? process.status() : SIGKILL;
    if (status != 0 && spoils)
        ++all.spoilt;
    else if (status != 0)
        complain("its process ended with wait status " + std::to_string(status));
    process.end();
    CHECK(nobody_left());
    if (now->complaints + now->wrong > before)
        complain("  in the case: " + name_of(what) + (plan->fired > 0 ? "" : ", which did not come to pass"));
    ++now->items;
    return plan->fired > 0;
}

void sweep(fault what, const settings& s, sums& all)
{
    const auto stride = static_cast<std::uint64_t>(std::max(1.0, 2 / s.scale));
    std::uint64_t random = mix(s.seed, static_cast<std::uint64_t>(what.what) * 8 + static_cast<std::uint64_t>(what.where));
    for (what.k = 1; what.k <= 200; random = mix(random, what.k)) {
        if (!play_out(what, all))
            return; // there are no more such calls
        ++all.fired;
        all.highest = std::max(all.highest, what.k);
        what.k += s.scale >= 1 ? (what.lasting ? what.k : 1) : static_cast<unsigned>(1 + random % stride);
    }
}

} // namespace

void failing_calls(const settings& s)
{
    const test::leaves_nothing nothing;
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    sums all;
    std::uint64_t n = 0;
    for (const kind& each : kinds) {
        for (const part where : {part::program, part::nursery, part::worker}) {
            for (const bool lasting : {false, true}) {
                const bool left_out = s.scale < 0.1 && mix(s.seed, ++n) % 4 != 0; // a short form takes a quarter of them
                if (can_fail(each.what) && !(lasting && each.passes) && !left_out)
                    sweep({each.what, where, 0, each.error, lasting}, s, all);
            }
        }
    }
    remark("failed calls " + std::to_string(all.fired));
    remark("programs spoilt by lack of memory " + std::to_string(all.spoilt));
    remark("up to the call number " + std::to_string(all.highest));
}

} // namespace soak
