#pragma once
// Starting a call somewhere: the seam between the templates and the compiled core.

#include <cofork/detail/job.hpp>
#include <cofork/options.hpp>

#include <asio/any_io_executor.hpp>

#include <memory>

namespace cofork {
class pool;
}

namespace cofork::detail {

/// A call that was started: its only handle outside the core. Any thread may use it.
class call_handle {
public:
    virtual ~call_handle() = default;
    /// Ends the call early: it finishes with operation_aborted. `kill`: workers that run its items are killed;
    /// else nothing new starts and what runs may end.
    virtual void cancel(bool kill) noexcept = 0;
    /// There is room for results, or there are new items: look again.
    virtual void poke() noexcept = 0;
    /// Kills and reaps, and frees the job without finishing it; blocks until that is done.
    virtual void abandon() noexcept = 0;
};

/// Starts `work` in a place of its own: forks now, so that workers see the memory of this moment. Never finishes the
/// job before it returns; failures are told by job::finish.
std::shared_ptr<call_handle> start_snapshot(const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> work);

/// Throws std::system_error, errc::forked_copy, in a fork of the process that made the pool. Not told by the job, as other
/// failures are: the context that would tell it is a copy, too, and must not run there.
void require_original(const pool& place);

/// Starts `work` in a pool. On `ex` is told what keeps it from starting.
std::shared_ptr<call_handle>
start_in_pool(pool& place, const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> work);

} // namespace cofork::detail
