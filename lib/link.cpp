#include "link.hpp"

#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

/// Above this many bytes a larger pipe is worth its system call (pipe(7): 64 KiB by default).
constexpr std::size_t default_pipe = 64 * 1024;
constexpr int large_pipe = 1 << 20;

} // namespace

link::link(nursery_client& nursery, std::uint32_t slot, std::uint64_t generation, link_user& user,
    std::shared_ptr<std::recursive_mutex> guard)
    : nursery_{&nursery}, user_{&user}, guard_{std::move(guard)}, page_{nursery.pages(), slot}, slot_{slot},
      generation_{generation}
{
}

std::shared_ptr<link> link::start(
    const asio::any_io_executor& ex, nursery_client& nursery, std::uint32_t slot, std::uint64_t generation,
    link_user& user, std::shared_ptr<std::recursive_mutex> guard)
{
    pipe_ends jobs = make_pipe();
    pipe_ends results = make_pipe();
    auto self = std::make_shared<link>(nursery, slot, generation, user, std::move(guard));
    self->jobs_read_ = duplicate(jobs.read.get());
    self->results_fd_ = results.read.get();
    self->channel_ = channel::make(ex, std::move(results.read), std::move(jobs.write), self->guard_);
    nursery.spawn(slot, generation, std::move(jobs.read), std::move(results.write));
    return self;
}

void link::begin(clock::time_point now, const link_terms& terms) noexcept
{
    born_ = now;
    terms_ = terms;
    enrol();
}

/// After whatever may have changed what it is.
void link::enrol() noexcept
{
    const standing now{alive(), !held_.empty(), sends(), (spent_ || retiring_) && !gone_, gone_};
    if (terms_.all)
        terms_.all->replace(counted_, now);
    counted_ = now;
}

void link::strike_off() noexcept
{
    if (roll* const all = std::exchange(terms_.all, nullptr))
        all->replace(counted_, {});
}

void link::spend() noexcept
{
    spent_ = true;
    enrol();
}

void link::dispatch(std::shared_ptr<call> owner, item_run items, clock::time_point now)
{
    append_job(message_, *owner, items, page_.epoch(), default_pipe);
    for (const segment& part : message_)
        terms_.counts->sent += part.bytes.size();
    owner->given(now);
    spent_ = spent_ || owner->opts().fresh;
    outbox_.add(message_);
    const bool free = held_.empty();
    held_.add(std::move(owner), std::move(items));
    if (free && held_.owner()->measured())
        tell_starts(inbox_.answered() + 1);
    if (!channel_->writing() && !channel_->reading()) {
        if (channel_->write_and_read(outbox_.next(), inbox_.space(), shared_from_this()))
            wrote_one();
        return enrol();
    }
    if (!channel_->writing())
        write_more();
    if (!channel_->reading())
        read_more();
    enrol();
}

void link::wrote_one()
{
    outbox_.wrote();
    write_more();
}

void link::write_more()
{
    if (!outbox_.empty())
        channel_->write(outbox_.next(), shared_from_this());
}

void link::on_written(std::error_code ec) noexcept
{
    const std::lock_guard lock{*guard_};
    if (!user_)
        return;
    const entered inside{*user_};
    if (ended_)
        return end_when_quiet();
    if (ec)
        kill(kill_reason::protocol, "its job pipe cannot be written");
    else
        wrote_one();
    enrol();
    if (held_.empty() && !sends())
        user_->turn(); // nothing keeps the place from its rest any more
}

void link::read_more()
{
    channel_->read(inbox_.space(), shared_from_this());
}

void link::on_read(std::error_code ec, std::size_t bytes) noexcept
{
    const std::lock_guard lock{*guard_};
    if (!user_)
        return;
    const entered inside{*user_};
    if (bytes > 0)
        arrived(bytes);
    if (ended_)
        return end_when_quiet();
    if (ec && ec != asio::error::operation_aborted)
        kill(kill_reason::protocol, "its result pipe cannot be read");
    else if ((bytes > 0 || ec) && !held_.empty() && !distrusted_)
        read_more(); // also when the read was cancelled and there is work again
    enrol();
    // No bytes: the pipe is closed. That is not death: the nursery tells how the worker ended.
    user_->turn();
}

void link::arrived(std::size_t bytes) noexcept
{
    if (distrusted_)
        return;
    if (const char* const wrong = inbox_.arrived(bytes))
        return distrust(wrong);
    check_guess();
    if (!held_.empty() && held_.owner()->measured())
        tell_starts(inbox_.answered() + started_unanswered());
    if (!large_results_ && (fills_pipe_ || inbox_.expects_large())) {
        large_results_ = true;
        ::fcntl(results_fd_, F_SETPIPE_SZ, large_pipe);
    }
}

void link::harvest() noexcept
{
    const char* const wrong = distrusted_ ? nullptr : inbox_.look_into_page();
    if (wrong)
        distrust(wrong);
}

next_replies link::next() const noexcept
{
    if (held_.empty())
        return {inbox_.answered(), 0, 1};
    const call& owner = *held_.owner();
    const std::uint64_t most = owner.opts().max_result;
    const block_maker maker = owner.the_job()->result_maker();
    if (owner.measured())
        return {inbox_.answered(), most + std::min<std::uint64_t>(sizeof(item_usage), ~most), 1, maker, sizeof(item_usage)};
    return {inbox_.answered(), most, held_.first().count, maker};
}

void link::distrust(const char* why) noexcept
{
    distrusted_ = true;
    kill(kill_reason::protocol, why);
}

bool link::reject(const char* why) noexcept
{
    distrust(why);
    return false;
}

/// That it can work, or why it cannot.
bool link::take_introduction(const reply_header& header, byte_view payload)
{
    if (header.kind == reply_kind::ready) {
        ready_ = true;
        if (payload.size() == sizeof note_)
            note_ = load<ready_note>(payload.data());
        tell_spawn();
        return true;
    }
    const auto said = read_report(payload);
    if (!said)
        return reject("malformed report of an exception");
    unfit_ = said->what;
    return true;
}

bool link::take_replies(const reply_run& run)
{
    const reply_header& header = run.header;
    const bool introduces = header.kind == reply_kind::ready || header.kind == reply_kind::unfit;
    if (introduces == ready_)
        return reject(ready_ ? "says again that it begins" : "reply before it was ready");
    if (introduces)
        return take_introduction(header, run.payload());
    if (held_.empty())
        return reject("reply for an item that it has not started");
    // It says that an item has ended before it answers. Else it could answer, go on running, and hold up what it is given next.
    const auto wanted = static_cast<std::int32_t>(run.count);
    const auto of_these = [&](std::uint32_t items) { return static_cast<std::int32_t>(items - header.sequence); };
    const auto seen = [&] { return std::min({of_these(finished_seen_), of_these(started_seen_), wanted}); };
    std::int32_t believed = seen(); // stays so, whatever has become of its page since then
    bool begun = false;
    if (believed < wanted) {
        look_at_progress();
        if (started_seen_ - header.sequence <= held_.count()) { // else it says that it has begun more than it holds
            believed = std::max(believed, seen());
            begun = of_these(started_seen_) > believed;
        }
    }
    if (believed > 0 && !take_answers(run, static_cast<std::uint32_t>(believed)))
        return false;
    if (believed >= wanted)
        return true;
    return reject(begun ? "reply for an item that it has not finished" : "reply for an item that it has not started");
}

/// The first `count` of them.
bool link::take_answers(const reply_run& run, std::uint32_t count)
{
    const reply_header& header = run.header;
    byte_view payload = run.payload();
    call& owner = *held_.owner(); // held until its last item is dropped, and by the dispatcher until we leave
    if (header.kind == reply_kind::value && header.size > next().max_result) // the header came when another call's item was next
        return reject("reply longer than allowed");
    fills_pipe_ = fills_pipe_ || header.size >= default_pipe / 2;
    attempt_facts by{slot_, pid(), header.ran};
    terms_.counts->received += count * run.stride();
    if (owner.measured() && !take_usage(payload, by))
        return reject("reply without what its item has used");
    std::optional<report> said;
    if (header.kind != reply_kind::value) {
        said = read_report(payload);
        if (!said)
            return reject("malformed report of an exception");
    }
    tell_start(held_.first(), header.sequence, owner);
    if (const auto last = owner.gated() ? page_.last_start() : std::nullopt)
        owner.started(*last);
    if (said) {
        failure why = thrown(header.kind, *said); // before the item is taken: there may be no memory for it
        owner.failed(pop_front(), std::move(why), by);
    }
    else
        take_values(run, {payload.data(), payload.size(), run.stride(), count, run.block}, by);
    return !distrusted_;
}

/// Of one batch.
void link::take_values(const reply_run& run, const result_run& results, attempt_facts by)
{
    call& owner = *held_.owner();
    for (std::uint32_t done = 0; done < results.count && !distrusted_;) {
        const auto [first, attempt] = std::pair{held_.first().first, held_.first().attempt};
        auto [count, undecodable] = owner.values(first, results.behind(done), by.pid);
        if (count > 0)
            drop_front(count); // before anybody hears of them, who may ask for numbers
        for (std::uint32_t i = 0; i < count; ++i) {
            by.ran_class = run.ran(done + i);
            owner.succeeded(first + i, attempt, by);
        }
        if (undecodable) {
            by.ran_class = run.ran(done);
            owner.failed(pop_front(), std::move(*undecodable), by);
            count = 1;
        }
        done += count;
    }
}

/// Replies come many at a time, and the page's line of memory is the worker's: each look at it costs both of us.
void link::look_at_progress() noexcept
{
    finished_seen_ = page_.finished();
    started_seen_ = page_.started();
}

failure link::thrown(reply_kind kind, const report& said) const
{
    failure why;
    if (kind == reply_kind::limit)
        why.limit = limited::result;
    else if (kind == reply_kind::no_memory)
        why.limit = limited::memory;
    why.kind = why.limit == limited::none ? failure_kind::exception : failure_kind::limit;
    why.elapsed = said.elapsed;
    why.type = said.type;
    why.what = said.what;
    why.output = said.output;
    why.pid = pid();
    return why;
}

item_run link::pop_front() noexcept
{
    item_run one = held_.first().copy_front(1);
    drop_front(1);
    return one;
}

/// Of one batch. They have an answer, or get none any more.
void link::drop_front(std::uint32_t items) noexcept
{
    if (held_.first().count == items)
        measure(*held_.owner());
    held_.drop(items);
    inbox_.pass(items);
}

/// A batch is done: what its items cost decides how many go into the next.
void link::measure(call& owner) noexcept
{
    const std::chrono::nanoseconds busy = page_.busy();
    const std::uint32_t finished = page_.finished();
    const std::uint32_t items = finished - measured_from_;
    const bool guessed = owner.guesses();
    if (items > 0 && busy >= busy_seen_) // and whatever it says, it is not busy for longer than it lives: sums must not overflow
        owner.cost(items, std::min<std::chrono::nanoseconds>(busy - busy_seen_, clock::now() - born_));
    busy_seen_ = busy;
    measured_from_ = finished;
    guess_ended_ = guess_ended_ || (guessed && !owner.guesses());
}

/// A guess ends with the first answer, not with the batch: that may be far too large.
void link::check_guess() noexcept
{
    if (!held_.empty() && held_.owner()->guesses())
        measure(*held_.owner());
    if (std::exchange(guess_ended_, false))
        user_->guess_ended();
}

std::uint32_t link::started_unanswered() const noexcept
{
    const std::uint32_t n = page_.started() - inbox_.answered();
    return static_cast<std::uint32_t>(std::min<std::size_t>(n, held_.count())); // more is a lie about its own items only
}

void link::take_back()
{
    const std::uint32_t claimed = page_.raise_epoch();
    if (static_cast<std::int32_t>(told_ - claimed) > 0)
        told_ = claimed; // it will not begin that one
    held_.keep(claimed - inbox_.answered());
    if (held_.empty() && channel_) // nothing is pending on an idle worker
        channel_->cancel_read();
    enrol();
}

void link::kill(kill_reason why, const char* detail)
{
    if (ended_ || reason_ != kill_reason::none)
        return;
    take_back();
    reason_ = why;
    detail_ = detail;
    enrol();
    if (why == kill_reason::timeout)
        nursery_->question(slot_, generation_);
    else
        nursery_->kill(slot_, generation_);
}

void link::on_spawned(int pid) noexcept
{
    pid_ = pid;
    tell_spawn();
}

} // namespace cofork::detail
