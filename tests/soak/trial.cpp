#include "checks.hpp" // first: tests/support is written for Catch2

#include "trial.hpp"

#include <cofork/error.hpp>
#include <cofork/parallel.hpp>
#include <cofork/stream.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error.hpp>

#include <numeric>
#include <string>

namespace soak {

const start_counts* trial_starts = nullptr;

namespace {

std::atomic<int> live_frames{0};

struct frame_count {
    frame_count() { ++live_frames; }
    ~frame_count() { --live_frames; }
    frame_count(const frame_count&) = delete;
    frame_count& operator=(const frame_count&) = delete;
};

/// Most items are short, some take as long as a few turns of the loop, and few as long as a cancellation.
int brief(int x)
{
    ++(*trial_starts)[static_cast<std::size_t>(x)];
    const std::uint64_t random = mix(static_cast<std::uint64_t>(x), 5);
    if (random % 8 == 0)
        spend(random % 64 == 0 ? 2'000'000 : 50'000);
    return 2 * x;
}

cofork::pool& still_there(const std::weak_ptr<cofork::pool>& pool)
{
    const auto held = pool.lock();
    if (!held)
        throw std::system_error{make_error_code(cofork::errc::pool_closed)};
    return *held; // it ends on this thread, which starts the call now
}

} // namespace

trial::trial(std::size_t first, std::uint64_t random)
    : random_{random}, form_{static_cast<form>(random % static_cast<std::uint64_t>(form::count))},
      items_(1 + (random >> 4) % most_items)
{
    std::iota(items_.begin(), items_.end(), static_cast<int>(first));
}

int trial::frames()
{
    return live_frames;
}

cofork::options trial::wishes() const
{
    return {.workers = 2, .chunk = (random_ >> 12) % 4, .with_threads = under_tsan};
}

void trial::start(
    const asio::any_io_executor& ex, const std::shared_ptr<cofork::pool>& pool, std::function<void()> then)
{
    then_ = std::move(then);
    const auto here = [&](auto handler) {
        return asio::bind_cancellation_slot(signal_.slot(), asio::bind_executor(ex, std::move(handler)));
    };
    const auto by_values = [this](std::exception_ptr error, const numbers& values) { ended(error, values); };
    if (form_ == form::coroutine)
        asio::co_spawn(ex, collect(pool, pool != nullptr), here(by_values));
    else if (form_ == form::stream)
        asio::co_spawn(ex, read(pool, pool != nullptr), here(by_values));
    else if (pool)
        start_by_handler(*pool, here);
    else
        start_by_handler(ex, here);
}

template <typename Place, typename Here>
void trial::start_by_handler(Place& place, Here here)
{
    if (form_ == form::handler)
        cofork::parallel(place, brief, items_, wishes(),
            here([this](std::exception_ptr error, const numbers& values) { ended(error, values); }));
    else
        cofork::try_parallel(place, brief, items_, wishes(),
            here([this](std::error_code why, const std::vector<cofork::outcome<int>>& all) { ended(why, all); }));
}

asio::awaitable<trial::numbers> trial::collect(std::weak_ptr<cofork::pool> pool, bool in_pool) const
{
    const frame_count counted;
    const cofork::options o = wishes();
    if (in_pool)
        co_return co_await cofork::parallel(still_there(pool), brief, items_, o);
    co_return co_await cofork::parallel(brief, items_, o);
}

asio::awaitable<trial::numbers> trial::read(std::weak_ptr<cofork::pool> pool, bool in_pool) const
{
    const frame_count counted;
    const cofork::options o = wishes();
    auto results =
        in_pool ? cofork::stream(still_there(pool), brief, items_, o) : cofork::stream(brief, items_, o);
    numbers values;
    while (const auto next = co_await results.next())
        values.push_back(next->outcome.value());
    co_return values;
}

void trial::cancel()
{
    cancelled_ = true;
    // A coroutine that was spawned hears terminal cancellation only.
    const bool gentle = (form_ == form::handler || form_ == form::collected) && (random_ >> 20) % 4 == 0;
    signal_.emit(gentle ? asio::cancellation_type::total : asio::cancellation_type::terminal);
}

void trial::ended(const std::exception_ptr& error, const numbers& values)
{
    std::error_code why;
    try {
        if (error)
            std::rethrow_exception(error);
    }
    catch (const std::system_error& e) {
        why = e.code();
    }
    catch (const std::exception& e) {
        complain(std::string{"a trial threw: "} + e.what());
        why = std::make_error_code(std::errc::io_error);
    }
    bool right = why || values.size() == items_.size();
    for (std::size_t i = 0; right && !why && i < values.size(); ++i)
        right = values[i] == 2 * items_[i];
    now->wrong += right ? 0 : 1;
    over_with(why);
}

void trial::ended(std::error_code why, const std::vector<cofork::outcome<int>>& outcomes)
{
    bool right = outcomes.size() == items_.size() || why;
    for (std::size_t i = 0; right && i < outcomes.size(); ++i) {
        const auto& o = outcomes[i];
        right = o ? *o == 2 * items_[i] : why && o.error().index == i && o.error().kind == cofork::failure_kind::cancelled;
    }
    now->wrong += right ? 0 : 1;
    over_with(why);
}

void trial::over_with(std::error_code why)
{
    why_ = why;
    if (++times_ > 1) {
        ++now->twice;
        complain("a call has ended twice");
    }
    else if (then_)
        then_();
}

void trial::judge_starts() const
{
    for (const int x : items_) {
        const unsigned starts = (*trial_starts)[static_cast<std::size_t>(x)];
        if (starts > 1) {
            ++now->twice;
            complain("item " + std::to_string(x) + " was started " + std::to_string(starts) + " times");
        }
        if (completed() && starts == 0) {
            ++now->wrong;
            complain("item " + std::to_string(x) + " has a value and was not started");
        }
    }
}

void trial::judge(bool was_closed) const
{
    ++now->items;
    beat();
    if (!over()) {
        ++now->lost;
        return complain("a call did not end");
    }
    const bool may_be = !why_ || (cancelled_ && why_ == asio::error::operation_aborted)
        || (was_closed && why_ == cofork::errc::pool_closed);
    if (!may_be) {
        ++now->wrong;
        complain("a call ended with " + why_.message() + (cancelled_ ? ", cancelled" : ""));
    }
    judge_starts();
}

void trial::judge_dropped() const
{
    ++now->items;
    beat();
    if (over())
        return judge(true);
    judge_starts();
}

} // namespace soak
