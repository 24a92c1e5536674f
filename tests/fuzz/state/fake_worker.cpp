#include "fake_worker.hpp"

#include "../demand.hpp"
#include "../trace.hpp"
#include "fake_call.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace fuzz {

namespace {

using namespace std::chrono_literals;

constexpr auto slice = 500us; // as in lib/worker.cpp
constexpr auto cheap = 4us;   // an item, where some are claimed at once

void never_block(int fd)
{
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

byte_buffer report_of(std::string_view type, std::string_view what)
{
    byte_buffer report(report_lead);
    store(report.data(), std::uint64_t{17});
    store(report.data() + sizeof(std::uint64_t), static_cast<std::uint32_t>(type.size())); // and nothing printed
    for (const std::string_view text : {type, what})
        for (const char c : text)
            report.push_back(static_cast<std::byte>(c));
    return report;
}

} // namespace

fake_worker::fake_worker(
    std::shared_ptr<shared_pages> pages, const nursery_request& asked, int pid, owned_fd jobs, owned_fd results)
    : pages_{std::move(pages)}, page_{pages_->get()[asked.slot]}, slot_{asked.slot}, generation_{asked.generation}, pid_{pid},
      jobs_{std::move(jobs)}, results_{std::move(results)}
{
    never_block(jobs_.get());
    never_block(results_.get());
}

bool fake_worker::step()
{
    if (dead_ || stopped)
        return false;
    if (!out_.empty())
        return write(std::size_t(-1));
    if (!ready_)
        return begin();
    if (!running_)
        return next_item();
    if (machine::now() - started_ < duration)
        return false;
    finish_item();
    return true;
}

bool fake_worker::begin()
{
    if (unfit) {
        add(reply_kind::unfit, 0, report_of("std::runtime_error", "no state"));
        flush();
        while (write(std::size_t(-1)) && !out_.empty()) {
        }
        die(CLD_EXITED, 1);
        return true;
    }
    page_.pid = static_cast<std::uint32_t>(pid_);
    add(reply_kind::ready, 0, {});
    flush();
    ready_ = true;
    return true;
}

/// Whether so many bytes of jobs are there. Before it waits for them it writes what it has.
bool fake_worker::fill(std::size_t size)
{
    while (rest().size() < size) {
        std::byte buffer[4096];
        const ssize_t got = ::read(jobs_.get(), buffer, sizeof buffer);
        if (got <= 0) {
            no_more_ = got == 0;
            return false;
        }
        in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(in_at_));
        in_at_ = 0;
        in_.insert(in_.end(), buffer, buffer + got);
    }
    return true;
}

bool fake_worker::next_item()
{
    const auto wait = [this] {
        if (held_ > 0)
            return flush(), true;
        if (no_more_)
            return die(CLD_EXITED, 0), true;
        return false;
    };
    if (left_ == 0) {
        if (!fill(sizeof(job_header)))
            return wait();
        const auto header = load<job_header>(rest().data());
        demand(header.magic == job_magic && header.count > 0, "a batch has a header");
        demand(header.captures == 1, "the captures of a call are its own");
        if (!fill(sizeof header + header.captures))
            return wait();
        batch_ = header;
        call_ = std::to_integer<std::uint8_t>(rest()[sizeof header]);
        in_at_ += sizeof header + header.captures;
        left_ = header.count;
        return true;
    }
    std::size_t size = 0;
    if (batch_.by_index == 0) {
        if (!fill(sizeof(std::uint64_t)))
            return wait();
        size = load<std::uint64_t>(rest().data());
        if (!fill(sizeof size + size))
            return wait();
        index_ = load<std::uint64_t>(rest().data() + sizeof size);
        demand(index_ == batch_.first + (batch_.count - left_), "an item is the one that its batch says");
        size += sizeof size;
    }
    else
        index_ = batch_.first + (batch_.count - left_);
    in_at_ += size;
    --left_;
    running_ = claim();
    return true;
}

fake_call* fake_worker::owner() const
{
    return call_ < machine::here().calls.size() ? machine::here().calls[call_] : nullptr;
}

bool fake_worker::claim()
{
    started_ = machine::now();
    page_.started_at = static_cast<std::uint64_t>(started_.time_since_epoch().count());
    if (claimed_ > 0) {
        --claimed_;
        ++sequence_;
    }
    else {
        const std::uint64_t seen = page_.claim;
        if (epoch_of(seen) != batch_.epoch)
            return false;
        sequence_ = claimed_of(seen);
        claimed_ = more_at_once();
        page_.claim = make_claim(batch_.epoch, sequence_ + 1 + claimed_);
    }
    page_.started = sequence_ + 1;
    fate_ = std::exchange(next, fate::value);
    owner()->item_started(index_, *this, honest_);
    return true;
}

/// How many it claims with the next item: those that have arrived, where they are cheap and nobody has to know when each begins.
std::uint32_t fake_worker::more_at_once() const
{
    if (batch_.exact != 0 || duration >= cheap)
        return 0;
    const std::uint32_t most = std::min(left_, 7u);
    std::uint32_t n = 0;
    for (byte_view items = rest(); batch_.by_index == 0 && n < most; ++n) {
        if (items.size() < sizeof(std::uint64_t))
            return n;
        const std::uint64_t size = sizeof(std::uint64_t) + load<std::uint64_t>(items.data());
        if (items.size() < size)
            return n;
        items = items.subspan(size);
    }
    return most;
}

void fake_worker::finish_item()
{
    running_ = false;
    page_.busy += static_cast<std::uint64_t>((machine::now() - started_).count());
    page_.finished = sequence_ + 1;
    const fake_result result{call_, index_, honest_ ? honest_mark : 0};
    byte_buffer payload(fate_ == fate::large ? 70'000 : sizeof result);
    store(payload.data(), result);
    if (fate_ == fate::undecodable)
        payload.resize(3);
    reply_kind kind = reply_kind::value;
    if (payload.size() > batch_.max_result || fate_ == fate::limit)
        kind = reply_kind::limit;
    else if (fate_ == fate::threw)
        kind = reply_kind::threw;
    if (kind != reply_kind::value)
        payload = report_of("std::runtime_error", "as it was told to");
    trace("worker %d answers\n", pid_);
    owner()->item_answered(index_, kind, fate_);
    add(kind, sequence_, payload);
    if (out_.empty()) {
        owner()->item_safe(index_);
        if (machine::now() - last_flush_ >= slice)
            flush();
    }
}

void fake_worker::add(reply_kind kind, std::uint32_t sequence, byte_view payload)
{
    byte_buffer reply(sizeof(reply_header) + payload.size());
    store(reply.data(), reply_header{reply_magic, kind, 0, sequence, payload.size()});
    std::ranges::copy(payload, reply.begin() + sizeof(reply_header));
    if (held_ + reply.size() > sizeof page_.out) { // what is in the page has to go first
        flush();
        out_.insert(out_.end(), reply.begin(), reply.end());
        out_of_page_ = false;
        through_.push_back(index_);
        return;
    }
    std::ranges::copy(reply, page_.out + held_);
    held_ += reply.size();
    page_.filled = static_cast<std::uint32_t>(held_);
}

void fake_worker::flush()
{
    last_flush_ = machine::now();
    out_.assign(page_.out, page_.out + held_);
    out_at_ = 0;
    out_of_page_ = true;
}

bool fake_worker::write(std::size_t most)
{
    if (dead_ || stopped || out_.empty())
        return false;
    // The page's bytes and a large reply behind them are two writes: the page is free once its own are out.
    const std::size_t end = out_at_ < held_ ? held_ : out_.size();
    const ssize_t n = ::write(results_.get(), out_.data() + out_at_, std::min(std::max<std::size_t>(most, 1), end - out_at_));
    if (n < 0 && errno == EPIPE)
        return die(CLD_EXITED, 1), true;
    if (n <= 0)
        return false;
    out_at_ += static_cast<std::size_t>(n);
    if (held_ > 0 && out_at_ == held_)
        flushed();
    if (out_at_ == out_.size()) {
        if (!through_.empty())
            page_.flushed += out_.size();
        out_.clear();
        out_at_ = 0;
        for (const std::uint64_t index : through_)
            owner()->item_safe(index);
        through_.clear();
    }
    return true;
}

/// The page is empty again.
void fake_worker::flushed()
{
    page_.filled = 0;
    page_.flushed += held_;
    out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(held_));
    out_at_ = 0;
    held_ = 0;
}

void fake_worker::die(int code, int status)
{
    if (dead_)
        return;
    trace("worker %d dies: code %d, status %d\n", pid_, code, status);
    dead_ = true;
    code_ = code;
    status_ = status;
    jobs_.reset();
    results_.reset();
}

void fake_worker::tell_where_it_is()
{
    page_.crash.signal = SIGKILL;
    std::strcpy(page_.crash.where, "somewhere");
    page_.crash.stage = 2;
}

void fake_worker::lie(input& from)
{
    honest_ = false;
    machine::here().liars = true;
    const unsigned what = from.below(9);
    trace("worker %d lies, number %u\n", pid_, what);
    switch (what) {
    case 0:
        page_.started_at = from.number<std::uint64_t>();
        page_.started += static_cast<std::uint32_t>(page_.started_at % 8) - 2u;
        break;
    case 1: page_.claim = page_.claim + from.below(8) - 2u; break;
    case 2: page_.finished += from.below(8) - 2u; break;
    case 3: page_.flushed += from.below(64) - 32u; break;
    case 4: page_.filled = static_cast<std::uint32_t>(from.number<std::uint32_t>() % (2 * sizeof page_.out)); break;
    case 5: page_.busy = from.number<std::uint64_t>(); break;
    case 6: page_.claim = make_claim(epoch_of(page_.claim) + from.below(3) - 1u, from.byte()); break;
    case 7: {
        const auto noise = from.bytes(1 + from.below(64));
        (void)!::write(results_.get(), noise.data(), noise.size());
        break;
    }
    case 8: {
        const reply_header header{
            reply_magic, static_cast<reply_kind>(from.below(6)), 0, page_.started + from.below(4) - 2u,
            from.below(32)};
        (void)!::write(results_.get(), &header, sizeof header);
        break;
    }
    }
}

} // namespace fuzz
