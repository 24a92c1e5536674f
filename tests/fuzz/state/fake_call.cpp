#include "fake_call.hpp"

#include "../demand.hpp"
#include "../trace.hpp"
#include "fake_worker.hpp"

#include <array>
#include <stdexcept>

namespace fuzz {

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;

template <typename T, std::size_t N>
T one_of(input& from, const std::array<T, N>& choices)
{
    return choices[from.below(N)];
}

/// Nanoseconds, for a trace.
long when()
{
    return (machine::now().time_since_epoch() - 1h) / 1ns;
}

} // namespace

fake_call::fake_call(input& from, std::uint8_t number, bool snapshot) : number_{number}
{
    choose(from);
    by_index_ = snapshot && from.yes();
    available_ = from.below(24);
    const unsigned kind = from.byte();
    sized_ = by_index_ || (kind & 1) != 0;
    stream_ = (kind & 2) != 0;
    goes_on_ = (kind & 4) == 0 || stream_;
    open_ = !sized_ && (kind & 8) != 0;
    throws_at_ = !by_index_ && (kind & 0x70) == 0x70 ? from.below(24) : std::size_t(-1);
    callback_throws_ = (kind & 0x80) != 0 && from.below(8) == 7;
    waiting_ = !stream_;
    trace(
        "call of %zu items%s%s: pause %ld timeout %ld deadline %ld attempts %u window %zu chunk %zu workers %u\n", available_,
        open_ ? " of a feed" : "", stream_ ? ", streamed" : "", options_.pause / 1ns, options_.timeout / 1ns,
        options_.deadline / 1ns, options_.attempts, options_.window, options_.chunk, options_.workers);
    options_.on_error = [this](const cofork::failure& why) { on_error(why); };
    options_.slow = options_.timeout == 20ms ? 5ms : options_.chunk == 2 ? 1ms : 0ns;
    options_.on_slow = [this](const cofork::slow_item& which) {
        const bool begun = which.index < items_.size() && items_[which.index].starts > 0;
        demand(begun || !strict(), "only what has begun is slow");
    };
}

void fake_call::choose(input& from)
{
    using time = std::chrono::nanoseconds;
    options_.workers = 1 + from.below(5);
    options_.pause = one_of(from, std::array<time, 6>{0ns, 0ns, 0ns, 1ms, 7ms, 100ms});
    options_.timeout = one_of(from, std::array<time, 6>{0ns, 0ns, 0ns, 1ms, 20ms, 1s});
    options_.deadline = one_of(from, std::array<time, 6>{0ns, 0ns, 0ns, 10ms, 1s, 60s});
    options_.chunk = one_of(from, std::array<std::size_t, 5>{0, 0, 1, 2, 5});
    options_.window = one_of(from, std::array<std::size_t, 4>{0, 1, 3, 8});
    options_.attempts = 1 + from.below(3);
    options_.again = static_cast<cofork::retry_on>(from.below(8));
    options_.max_result = one_of(from, std::array<std::size_t, 3>{std::size_t{64} << 20, 100, 8});
}

// The consumer.

void fake_call::push(unsigned items)
{
    if (!open_)
        return;
    available_ += items;
    handle_->poke();
}

void fake_call::close_feed()
{
    if (!open_)
        return;
    open_ = false;
    handle_->poke();
}

void fake_call::read(unsigned most)
{
    const std::size_t n = std::min<std::size_t>(most, unread_);
    if (n == 0 && waiting_)
        return;
    unread_ -= n;
    waiting_ = unread_ == 0;
    const bool room_again = n > 0 && stalled_ && unread_ <= asked_window_ / 2;
    stalled_ = stalled_ && !room_again;
    if (over() || (!room_again && !(starved_ && waiting_)))
        return;
    starved_ = starved_ && !waiting_;
    handle_->poke();
}

void fake_call::cancel(bool kill)
{
    trace("%ld: cancel, %s\n", when(), kill ? "kill" : "gentle");
    excused_ = true;
    handle_->cancel(kill);
}

void fake_call::drop()
{
    excused_ = true;
    if (!over())
        handle_->abandon();
}

// The workers.

fake_call::item& fake_call::at(std::uint64_t index)
{
    demand(index < available_, "there is no item beyond the input");
    if (items_.size() <= index)
        items_.resize(index + 1);
    return items_[index];
}

void fake_call::item_started(std::uint64_t index, const fake_worker& by, bool honest)
{
    trace("%ld: worker %d starts item %d\n", when(), by.pid(), static_cast<int>(index));
    item& one = at(index);
    ++one.starts;
    if (!strict() || !honest)
        return;
    demand(!finished_ && !abandoned_, "nothing starts after the end of its call");
    demand(!one.settled, "an item that has an outcome is not started");
    demand(one.starts <= one.failures + 1, "an item is started again only after its failure was told");
    demand(one.starts <= options_.attempts, "an item is not started more often than attempts says");
    const auto now = machine::now();
    if (options_.pause > 0ns && last_start_)
        demand(now - *last_start_ >= options_.pause, "the gate keeps its distance");
    if (stream_ && options_.window > 0)
        demand(index < options_.window + settled_ - unread_, "no more items run or wait unread than the window allows");
    last_start_ = now;
    one.started = now;
    one.safe = one.valid = false;
    one.expected.reset();
}

void fake_call::item_answered(std::uint64_t index, reply_kind kind, fate what)
{
    item& one = at(index);
    one.valid = kind == reply_kind::value && what != fate::undecodable;
    one.expected.reset();
    if (!one.valid)
        one.expected = kind == reply_kind::limit ? failure_kind::limit : failure_kind::exception;
}

void fake_call::item_safe(std::uint64_t index)
{
    at(index).safe = true;
}

// The job.

std::optional<std::size_t> fake_call::size() const
{
    return sized_ ? std::optional{available_} : std::nullopt;
}

pulled fake_call::pull(encoded_items& out)
{
    demand(!over(), "nothing is pulled after the end");
    if (pulled_ == throws_at_) {
        excused_ = true;
        throw std::runtime_error{"the range is broken"};
    }
    if (pulled_ == available_)
        return open_ ? pulled::later : pulled::end;
    if (stream_ && options_.window > 0)
        demand(pulled_ - settled_ + unread_ < options_.window, "nothing is pulled that the window has no room for");
    const std::size_t at = out.bytes.size();
    out.bytes.resize(at + sizeof(std::uint64_t));
    store(out.bytes.data() + at, std::uint64_t{pulled_});
    ++pulled_;
    return pulled::item;
}

std::size_t fake_call::room(std::size_t chosen_window)
{
    if (!stream_)
        return std::size_t(-1);
    asked_window_ = options_.window > 0 ? options_.window : chosen_window;
    stalled_ = true;
    return asked_window_ - std::min(asked_window_, unread_);
}

bool fake_call::over_when_idle()
{
    starved_ = stream_ && !waiting_;
    const bool nobody_pushes = !stream_ || (waiting_ && unread_ == 0);
    ended_with_ = nobody_pushes ? std::optional{available_} : std::nullopt;
    return nobody_pushes;
}

void fake_call::settle(std::uint64_t index)
{
    item& one = at(index);
    demand(!over(), "no outcome comes after the end");
    demand(!one.settled, "an item has one outcome");
    one.settled = true;
    trace("%ld: item %d is settled\n", when(), static_cast<int>(index));
    ++settled_;
    if (!stream_)
        return;
    ++unread_;
    waiting_ = false;
}

std::uint32_t fake_call::deliver(std::uint64_t first, const result_run& results)
{
    const auto count = static_cast<std::uint32_t>(1 + first % results.count); // what is left is offered again
    for (std::uint32_t i = 0; i < count; ++i)
        deliver_one(first + i, results[i].bytes);
    return count;
}

void fake_call::deliver_one(std::uint64_t index, byte_view result)
{
    if (result.size() < sizeof(fake_result))
        throw cofork::decode_error{"not a result"};
    const auto said = load<fake_result>(result.data());
    const bool honest = said.mark == honest_mark;
    if (!honest && strict())
        demand(false, "a value is what its worker wrote");
    if (honest && (said.index != index || said.call != std::to_integer<std::uint64_t>(number_)))
        demand(false, "a value belongs to its item");
    if (strict())
        demand(at(index).valid && at(index).starts > 0, "a value comes of an item that was run");
    settle(index);
}

void fake_call::on_error(const cofork::failure& why)
{
    trace("%ld: on_error: %s\n", when(), describe(why).c_str());
    item& one = at(why.index);
    ++one.failures;
    demand(!one.settled, "an item that has an outcome does not fail");
    demand(why.attempts == one.failures, "attempts are counted");
    if (strict())
        check_failure(one, why);
    if (callback_throws_) {
        excused_ = true;
        throw std::runtime_error{"on_error is broken"};
    }
}

void fake_call::check_failure(const item& one, const cofork::failure& why) const
{
    switch (why.kind) {
    case failure_kind::exception:
    case failure_kind::limit:
        demand(one.expected == why.kind, "an exception is one that was thrown");
        break;
    case failure_kind::timeout:
        demand(options_.timeout > 0ns && one.starts > 0, "only what runs is over its time");
        demand(machine::now() - one.started >= options_.timeout, "nobody is killed before the time is over");
        demand(!one.safe, "a result that is there wins over the timer");
        break;
    case failure_kind::crashed:
        demand(one.starts > 0, "who has not begun has not crashed");
        demand(!one.safe, "what was answered did not crash");
        break;
    case failure_kind::protocol: demand(false, "an honest worker keeps to the protocol"); break;
    case failure_kind::cancelled:
    case failure_kind::not_started: demand(false, "the core does not say this of an item"); break;
    }
}

bool fake_call::deliver(cofork::failure why)
{
    failed_ = true;
    const item& one = at(why.index);
    using cofork::operator&;
    const bool wanted = why.kind == failure_kind::timeout ? options_.again & cofork::retry_on::timeout
        : why.kind == failure_kind::crashed || why.kind == failure_kind::protocol
        ? options_.again & cofork::retry_on::crash
        : options_.again & cofork::retry_on::exception;
    demand(one.failures == options_.attempts || !wanted, "an item has all its attempts");
    settle(why.index);
    return goes_on_;
}

void fake_call::finish(std::exception_ptr why) noexcept
{
    demand(!over(), "a call ends once");
    finished_ = true;
    trace("%ld: finish, %s\n", when(), why ? "early" : "well");
    handle_.reset();
    if (!why) {
        // A feed is over when nobody is left who could push; what is pushed all the same, while its workers are reaped, stays in it.
        const bool was_over = ended_with_ == settled_;
        demand(settled_ == available_ || open_ || was_over, "a call that ends well has an outcome for every item");
        demand(pulled_ == settled_ || by_index_, "nothing that was pulled is lost");
        return;
    }
    const bool overdue = options_.deadline > 0ns && machine::now() - begun_ >= options_.deadline;
    demand(excused_ || overdue || (failed_ && !goes_on_), "a call that ends early has a reason");
}

void fake_call::abandon() noexcept
{
    demand(!over(), "a call is dropped once, and not after its end");
    abandoned_ = true;
    trace("%ld: abandoned\n", when());
    handle_.reset();
}

} // namespace fuzz
