#include "checks.hpp" // first: tests/support is written for Catch2

#include "killer.hpp"

#include "crew_table.hpp"
#include "ledger.hpp"

#include "../support/faults.hpp"

#include <algorithm>
#include <csignal>
#include <deque>
#include <optional>
#include <random>

#include <time.h>

namespace soak {

namespace {

class killer {
public:
    killer(pid_t target, const killing& how) : target_{target}, how_{how}, random_{how.seed} {}

    [[noreturn]] void run()
    {
        for (std::uint64_t round = 1;; ++round) {
            rest();
            count_last();
            wake();
            if (how_.nursery_every != 0 && round % how_.nursery_every == 0)
                kill_one(test::nurseries(target_), SIGKILL);
            else if (!how_.signals.empty())
                kill_one(test::workers(target_), how_.signals[random_() % how_.signals.size()]);
            else if (!how_.aimed || round % 2 == 0 || !kill_mid_frame())
                kill_one(test::workers(target_), SIGKILL);
        }
    }

private:
    /// Stopped by us, to be woken.
    struct sleeper {
        pid_t pid;
        std::uint64_t until;
    };

    void rest()
    {
        const std::uint64_t ns = how_.interval / 2 + random_() % how_.interval;
        const timespec moment{0, static_cast<long>(ns)};
        ::nanosleep(&moment, nullptr);
    }

    void kill_one(const std::vector<pid_t>& found, int signo)
    {
        if (found.empty())
            return;
        const pid_t pid = found[random_() % found.size()];
        if (signo == SIGSTOP)
            stop(pid);
        if (::kill(pid, signo) < 0)
            return;
        ++now->kills;
        if (signo == SIGKILL && crew)
            last_ = pid;
    }

    void stop(pid_t pid)
    {
        if (crew)
            crew->of(pid).stopped = pid; // before it is: its item may be judged at any moment
        if (random_() % 2 == 0)
            sleepers_.push_back({pid, clock_ns() + random_() % 200'000'000});
    }

    void wake()
    {
        const std::uint64_t t = clock_ns();
        std::erase_if(sleepers_, [&](const sleeper& s) { return s.until <= t && (::kill(s.pid, SIGCONT), true); });
    }

    /// Within the time of an interval; false when there was none.
    bool kill_mid_frame()
    {
        const std::uint64_t end = clock_ns() + how_.interval;
        while (crew && clock_ns() < end) {
            for (crew_entry& each : *crew) {
                if (!each.mid_frame)
                    continue;
                const pid_t pid = each.pid;
                if (pid > 0 && ::kill(pid, SIGKILL) == 0) {
                    ++now->kills;
                    last_ = pid;
                    return true;
                }
                each.mid_frame = false; // it has died of something else
            }
            const timespec moment{0, 20'000};
            ::nanosleep(&moment, nullptr);
        }
        return false;
    }

    /// By now it is dead, and how far it got does not change any more.
    void count_last()
    {
        if (!last_)
            return;
        crew_entry& entry = crew->of(*last_);
        if (entry.pid == *last_ && entry.mid_frame.exchange(false))
            ++now->torn;
        last_.reset();
    }

    pid_t target_;
    const killing& how_;
    std::minstd_rand random_;
    std::vector<sleeper> sleepers_;
    std::optional<pid_t> last_;
};

} // namespace

[[noreturn]] void kill_at_random(pid_t target, const killing& how)
{
    killer{target, how}.run();
}

} // namespace soak
