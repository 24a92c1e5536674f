#pragma once
// workers = 0: the same call in this process, for debugging.

#include "call.hpp"
#include "place_registry.hpp"

#include <asio/any_io_executor.hpp>
#include <asio/steady_timer.hpp>

#include <memory>
#include <mutex>
#include <optional>

namespace cofork::detail {

/// Runs a call's items one after the other on the call's executor, one to each turn of the loop. Values and failures
/// take the same way as from a worker, through the codec; an item that is over its time fails after it has ended.
class serial final : public call_handle, public registered_place, public std::enable_shared_from_this<serial> {
public:
    serial(const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> work);

    void start();
    void cancel(bool kill) noexcept override;
    void poke() noexcept override;
    void abandon() noexcept override;

private:
    void context_ended() noexcept override;
    void later();
    void step();
    void step_once();
    attempt_facts facts_since(clock::time_point started, std::chrono::nanoseconds cpu_before) const;
    byte_view bytes_of(const item_run& one);
    void run_one(const item_run& one);
    void wait_until(clock::time_point when);

    asio::any_io_executor strand_;
    std::optional<asio::steady_timer> timer_;
    std::shared_ptr<job> job_;
    call call_;
    byte_buffer item_;
    byte_buffer result_;
    bool posted_ = false;
    bool over_ = false;
    std::recursive_mutex guard_; // for abandon(), which may come from elsewhere
    bool inside_ = false;        // a step is in progress: callbacks may be running
    bool abandon_later_ = false; // asked for by one of them
};

} // namespace cofork::detail
