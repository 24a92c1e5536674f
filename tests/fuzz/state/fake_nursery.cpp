// A nursery without a process: its workers are objects, and its reports wait until the fuzzer delivers them.

#include "machine.hpp"

#include "../trace.hpp"
#include "fake_worker.hpp"

#include <asio/post.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <system_error>

namespace cofork::detail {

nursery_client::nursery_client(const asio::any_io_executor& ex, std::uint32_t slots, const worker_life&, std::uint32_t,
    std::shared_ptr<std::recursive_mutex> guard)
    : pages_{std::make_shared<shared_pages>(slots)}, guard_{std::move(guard)}, control_{ex}, pidfd_{ex}, patience_{ex},
      again_{ex}
{
    if (fuzz::machine::here().no_forks)
        throw std::system_error{EAGAIN, std::system_category(), "fork"};
    fuzz::machine::here().nursery_begins(this, pages_);
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
    fuzz::machine::here().ask(this, r.what, std::move(r.jobs), std::move(r.results));
}

// From here on as in lib/nursery_client.cpp, with the machine in place of the socket.

void nursery_client::watch(std::shared_ptr<nursery_user> user)
{
    user_ = std::move(user);
    if (!waiting_)
        wait_for_report();
}

void nursery_client::unwatch() noexcept
{
    user_.reset();
    fuzz::machine::here().wake();
}

void nursery_client::wait_for_report()
{
    waiting_ = true;
    fuzz::machine::here().listen(control_.get_executor(), [self = shared_from_this()] {
        const std::lock_guard lock{*self->guard_};
        self->waiting_ = false;
        if (self->user_)
            self->read_reports();
        if (self->user_ && !self->waiting_)
            self->wait_for_report();
    });
}

void nursery_client::read_reports()
{
    for (;;) {
        const auto user = user_;
        if (!user)
            return;
        if (const auto report = fuzz::machine::here().next_report())
            user->on_report(*report);
        else if (!fuzz::machine::here().nursery_lost())
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
    fuzz::machine::here().wake();
    fuzz::machine::here().end_later(control_.get_executor(), [self = shared_from_this(), done = std::move(done)] {
        fuzz::machine::here().nursery_ends(self.get());
        done();
    });
}

void nursery_client::end() noexcept
{
    user_.reset();
    fuzz::machine::here().wake();
    fuzz::machine::here().nursery_ends(this);
}

} // namespace cofork::detail

namespace fuzz {

void machine::nursery_begins(const nursery_client* client, std::shared_ptr<shared_pages> pages)
{
    nursery_ = client;
    pages_ = std::move(pages);
    lost_ = false;
}

void machine::nursery_ends(const nursery_client* client)
{
    if (nursery_ != client)
        return;
    nursery_ = nullptr;
    for (const auto& w : workers)
        w->die(CLD_KILLED, SIGKILL);
    workers.clear();
    asked_.clear();
    reports_.clear();
    pages_.reset();
}

void machine::ask(const nursery_client* client, const nursery_request& what, owned_fd jobs, owned_fd results)
{
    if (nursery_ == client && !lost_)
        asked_.push_back({what, std::move(jobs), std::move(results)});
}

void machine::post(std::optional<waiting>& what)
{
    if (!what)
        return;
    waiting w = std::move(*what);
    what.reset();
    asio::post(w.ex, std::move(w.then));
}

void machine::listen(const asio::any_io_executor& ex, std::function<void()> heard)
{
    listener_.emplace(waiting{ex, guard{ex}, std::move(heard)});
}

void machine::wake()
{
    post(listener_);
}

void machine::end_later(const asio::any_io_executor& ex, std::function<void()> done)
{
    ending_.emplace(waiting{ex, guard{ex}, std::move(done)});
}

std::optional<nursery_report> machine::next_report()
{
    if (reports_.empty())
        return {};
    const nursery_report first = reports_.front();
    reports_.pop_front();
    return first;
}

bool machine::deliver_reports()
{
    if (!listener_ || (reports_.empty() && !lost_))
        return false;
    wake();
    return true;
}

bool machine::finish_ending()
{
    const bool any = ending_.has_value();
    post(ending_);
    return any;
}

void machine::lose_nursery()
{
    if (!nursery_)
        return;
    trace("the nursery is lost\n");
    lost_ = true;
    asked_.clear(); // what lies in its socket goes with it; its workers live a moment longer
}

bool machine::serve_request(bool refuse)
{
    if (asked_.empty())
        return false;
    errand next = std::move(asked_.front());
    asked_.pop_front();
    const auto [verb, slot, generation] = next.what;
    trace("nursery: verb %u for slot %u\n", static_cast<unsigned>(verb), slot);
    if (verb == nursery_verb::spawn && refuse)
        reports_.push_back({nursery_news::refused, slot, generation, 0, EAGAIN, 0, 0});
    else if (verb == nursery_verb::spawn)
        spawn(std::move(next));
    else
        for (const auto& w : std::vector{workers}) {
            if (!w->is(slot, generation))
                continue;
            if (verb == nursery_verb::look) {
                w->tell_where_it_is();
                reports_.push_back({nursery_news::seen, slot, generation, 0, 0, 0, 0});
                continue;
            }
            if (verb == nursery_verb::question)
                w->tell_where_it_is();
            w->die(CLD_KILLED, SIGKILL);
            report_end(*w);
        }
    return true;
}

void machine::spawn(errand asked)
{
    const auto [verb, slot, generation] = asked.what;
    const int pid = ++last_pid_;
    workers.push_back(
        std::make_shared<fake_worker>(pages_, asked.what, pid, std::move(asked.jobs), std::move(asked.results)));
    reports_.push_back({nursery_news::spawned, slot, generation, pid, 0, 0, 0});
}

bool machine::reap()
{
    bool any = false;
    for (const auto& w : std::vector{workers}) {
        if (lost_)
            w->die(CLD_KILLED, SIGKILL); // PR_SET_PDEATHSIG
        if (!w->dead())
            continue;
        report_end(*w);
        any = true;
    }
    return any;
}

void machine::report_end(const fake_worker& worker)
{
    if (!lost_)
        reports_.push_back({nursery_news::ended, worker.slot(), worker.generation(), worker.pid(), 0, worker.code(),
            worker.status()});
    std::erase_if(workers, [&](const auto& w) { return w.get() == &worker; });
}

} // namespace fuzz
