// The parent's state machine: dispatcher, crew, links and calls, with channels as they are, on a ring, a nursery, workers and
// a clock that do what the fuzzer says, in the order that it says. Whatever happens, every call ends once, every item has one
// outcome, nothing starts that must not; and when the world becomes honest again, everything ends in bounded time.

#include "demand.hpp"
#include "input.hpp"
#include "state/fake_call.hpp"
#include "state/fake_worker.hpp"
#include "state/machine.hpp"
#include "trace.hpp"

#include "dispatcher.hpp"
#include "failed_call.hpp"

#include <cofork/error.hpp>

#include <asio/io_context.hpp>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <csignal>
#include <optional>

#include <fcntl.h>
#include <sys/wait.h>

namespace {

using namespace fuzz;
using namespace std::chrono_literals;

/// More would take longer than it is worth.
constexpr std::size_t most_calls = 4;
constexpr std::size_t most_events = 600;

std::bitset<256> open_descriptors()
{
    std::bitset<256> open;
    for (int fd = 0; fd < 256; ++fd)
        open[static_cast<std::size_t>(fd)] = ::fcntl(fd, F_GETFD) >= 0;
    return open;
}

class scene {
public:
    explicit scene(input& from) : from_{from}
    {
        const unsigned kind = from.byte();
        snapshot_ = (kind & 1) != 0;
        may_lie_ = (kind & 2) != 0;
        crew_setup setup{};
        setup.workers = 1 + from.below(4);
        setup.fresh = (kind & 4) != 0;
        setup.max_items = (kind & 8) != 0 ? 1 + from.below(4) : 0;
        place_ = std::make_shared<dispatcher>(context_->get_executor(), setup);
        place_->one_call = snapshot_;
        most_workers_ = setup.workers;
        ring_of(*context_); // through it the machine hears of the context's end
        place_->fork_now();
        add_call();
    }

    void play()
    {
        for (std::size_t n = 0; n < most_events && !from_.empty() && !context_gone(); ++n) {
            event();
            demand(live_workers() <= most_workers_, "there are no more workers than there may be");
        }
    }

    void end()
    {
        if (!context_gone()) {
            become_honest();
            settle();
            leave_nothing();
        }
        for (const auto& c : calls_)
            demand(c->over(), "every call has ended");
        place_.reset();
        context_.reset();
        demand(machine_.idle(), "nothing is asked of a kernel that nobody listens to");
    }

private:
    bool context_gone() const noexcept { return !context_; }

    std::size_t live_workers() const
    {
        return static_cast<std::size_t>(std::ranges::count_if(machine_.workers, [](const auto& w) { return !w->dead(); }));
    }

    void add_call()
    {
        if (calls_.size() == most_calls || (snapshot_ && !calls_.empty()))
            return;
        auto work = std::make_shared<fake_call>(from_, static_cast<std::uint8_t>(calls_.size()), snapshot_);
        calls_.push_back(work);
        machine_.calls.push_back(work.get());
        auto c = std::make_shared<call>(work, work->opts(), clock::now());
        c->home = place_;
        work->serve(c);
        if (closed_ || troubled_)
            work->excuse();
        place_->add(std::move(c));
    }

    fake_call& some_call() { return *calls_[from_.below(static_cast<unsigned>(calls_.size()))]; }

    fake_worker* some_worker()
    {
        const auto& all = machine_.workers;
        return all.empty() ? nullptr : all[from_.below(static_cast<unsigned>(all.size()))].get();
    }

    bool run_one()
    {
        context_->restart();
        return context_->poll_one() > 0;
    }
    bool run_all()
    {
        constexpr int most = 10'000;
        int n = 0;
        while (run_one())
            demand(++n < most, "the loop comes to rest while nothing happens");
        return n > 0;
    }

    void event()
    {
        switch (from_.below(20)) {
        case 0: run_one(); break;
        case 1: run_all(); break;
        case 2: machine::advance(std::chrono::microseconds{1u << from_.below(22)}); break;
        case 3: machine_.serve_request(false); break;
        case 4: machine_.deliver_reports(); break;
        case 5:
        case 6:
        case 7: worker_event(); break;
        case 8:
        case 9: transfer_event(); break;
        case 10: machine_.reap(); break;
        case 11: consumer_event(); break;
        case 12: refusal_event(); break;
        case 13: end_event(); break;
        case 14: go_on(4); break;
        case 15: go_on(1); break;
        case 16: add_call(); break;
        case 17: machine_.finish_ending(); break;
        case 18: run_all(); machine_.serve_request(false); run_all(); break;
        case 19: steps(8); break;
        }
    }

    void steps(unsigned most)
    {
        if (fake_worker* const w = some_worker())
            while (most-- > 0 && w->step()) {
            }
    }

    void worker_event()
    {
        fake_worker* const w = some_worker();
        if (!w)
            return;
        switch (from_.below(9)) {
        case 0:
        case 1: w->step(); break;
        case 2: w->write(from_.byte()); break;
        case 3: w->next = static_cast<fate>(from_.below(5)); break;
        case 4: w->duration = std::chrono::microseconds{1u << from_.below(22)}; break;
        case 5: w->stopped = !w->stopped; break;
        case 6: kill(*w); break;
        case 7: w->unfit = !snapshot_; excuse_all(); break;
        case 8:
            if (may_lie_ && !w->dead()) {
                w->lie(from_);
                excuse_all();
            }
            break;
        }
    }

    void kill(fake_worker& w)
    {
        const bool exits = from_.yes();
        excuse_all(); // five of them, before their first item, are a reason to give up
        w.die(exits ? CLD_EXITED : CLD_KILLED, static_cast<int>(exits ? from_.below(3) : 1 + from_.below(31)));
    }

    void transfer_event()
    {
        if (machine_.transfers() == 0)
            return;
        const std::size_t which = from_.below(static_cast<unsigned>(machine_.transfers()));
        constexpr int errors[] = {EAGAIN, ECANCELED, EINTR};
        if (const unsigned how = from_.below(16); how < 3)
            machine_.fail(which, errors[how]);
        else if (how == 3)
            machine_.at_once = !machine_.at_once;
        else
            machine_.complete(which, how < 8 ? from_.byte() : std::size_t(-1));
    }

    void consumer_event()
    {
        fake_call& c = some_call();
        switch (from_.below(8)) {
        case 0:
        case 1:
        case 2: c.read(1 + from_.below(4)); break;
        case 3:
        case 4: c.over() ? void() : c.push(from_.below(3)); break;
        case 5: c.over() ? void() : c.close_feed(); break;
        case 6: c.over() ? void() : c.cancel(from_.yes()); break;
        case 7: c.drop(); break;
        }
        closed_ = closed_ || (snapshot_ && c.over());
    }

    void refusal_event()
    {
        excuse_all();
        switch (from_.below(7)) {
        case 0: machine_.no_pipes = from_.yes(); break;
        case 1: machine_.no_forks = from_.yes(); break;
        case 2: machine_.no_ring = true; break;
        case 3: machine_.no_cancel = from_.yes(); break;
        case 4: machine_.threads = from_.yes(); break;
        case 5: machine_.serve_request(true); break;
        case 6: machine_.lose_nursery(); break;
        }
    }

    void end_event()
    {
        switch (from_.below(8)) {
        case 0:
            excuse_all();
            closed_ = true;
            place_->shut_down(failed_call(cofork::errc::pool_closed));
            break;
        case 1:
            if (snapshot_)
                break;
            closed_ = true;
            ++drains_;
            place_->async_drain([this] { --drains_; });
            break;
        case 2:
            if (from_.below(4) == 3)
                lose_context();
            break;
        default: break; // most runs are not to end here
        }
    }

    void lose_context()
    {
        excuse_all();
        context_.reset();
        for (const auto& c : calls_)
            demand(c->over(), "a context that ends ends every call");
        demand(machine_.workers.empty(), "a context that ends leaves no worker");
    }

    /// From now on a call may fail for no reason of its own.
    void excuse_all()
    {
        troubled_ = true;
        for (const auto& c : calls_)
            c->excuse();
    }

    /// Everybody does his part, so many times.
    bool go_on(unsigned rounds)
    {
        bool any = false;
        for (; rounds > 0; --rounds) {
            bool moved = run_all();
            while (machine_.serve_request(false))
                moved = true;
            for (const auto& w : std::vector{machine_.workers})
                moved = w->step() || moved;
            moved = machine_.reap() || moved;
            moved = machine_.deliver_reports() || moved;
            for (std::size_t i = machine_.transfers(); i-- > 0;)
                moved = (i < machine_.transfers() && machine_.complete(i, std::size_t(-1))) || moved;
            moved = machine_.finish_ending() || moved;
            any = any || moved;
        }
        return any;
    }

    /// No refusals, no feed that stays open, no unread results, no worker that stands still; who has lied is gone.
    void become_honest()
    {
        machine_.no_pipes = machine_.no_forks = machine_.no_ring = machine_.no_cancel = machine_.threads = false;
        for (const auto& w : std::vector{machine_.workers}) {
            if (machine_.liars)
                w->die(CLD_KILLED, SIGKILL);
            w->stopped = w->unfit = false;
            w->duration = std::min<std::chrono::nanoseconds>(w->duration, 1ms);
        }
        for (const auto& c : calls_)
            if (!c->over())
                c->close_feed();
    }

    bool all_over() const
    {
        return std::ranges::all_of(calls_, [](const auto& c) { return c->over(); }) && drains_ == 0;
    }

    /// Time passes in larger and larger steps while nothing happens.
    void settle()
    {
        constexpr auto longest = 10min; // of 24 items, three attempts and a pause of 100 ms each, and all that is waited for
        std::chrono::nanoseconds passed{0};
        std::chrono::nanoseconds pace = 10us;
        while (!all_over()) {
            for (const auto& c : calls_)
                if (!c->over())
                    c->read(100);
            if (go_on(1)) {
                pace = 10us;
                continue;
            }
            machine::advance(pace);
            passed += pace;
            pace = std::min<std::chrono::nanoseconds>(2 * pace, 200ms);
            demand(passed < longest, "calls end when everybody does his part");
        }
    }

    /// What is left of a place without calls.
    void leave_nothing()
    {
        while (go_on(1)) {
        }
        run_one();
        trace("idle, with %zu reads and writes pending\n", machine_.transfers());
        demand(machine_.idle(), "nothing is pending in an idle place");
        demand(context_->stopped(), "run() returns when a place is idle");
        if (!snapshot_)
            place_->shut_down(failed_call(cofork::errc::pool_closed));
        while (go_on(1)) {
        }
        demand(machine_.workers.empty(), "no worker is left");
        demand(machine_.idle(), "nothing is pending in a place that is closed");
    }

    input& from_;
    machine machine_;
    std::optional<asio::io_context> context_{std::in_place};
    bool snapshot_ = false;
    bool may_lie_ = false;
    bool closed_ = false;
    bool troubled_ = false;
    int drains_ = 0;
    std::size_t most_workers_ = 0;
    std::shared_ptr<dispatcher> place_;
    std::vector<std::shared_ptr<fake_call>> calls_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    [[maybe_unused]] static const auto ignored = std::signal(SIGPIPE, SIG_IGN); // for the workers' ends
    const auto before = open_descriptors();
    {
        input from{data, size};
        scene s{from};
        s.play();
        s.end();
    }
    demand(open_descriptors() == before, "every descriptor is closed");
    return 0;
}
