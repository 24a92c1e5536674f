#include <cofork/pool.hpp>

#include "dispatcher.hpp"
#include "failed_call.hpp"

#include <cofork/error.hpp>

#include <system_error>

namespace cofork {

pool::pool(asio::any_io_executor ex, pool_options options) : state_{options.init.maker()}
{
    detail::crew_setup setup;
    setup.workers = options.workers == all_cpus ? available_cpus() : options.workers;
    if (setup.workers == 0 || setup.workers > detail::max_workers)
        throw std::system_error{make_error_code(errc::invalid_options), "pool_options::workers is not between 1 and 65536"};
    setup.state = state_.get();
    setup.with_threads = options.with_threads;
    setup.fresh = options.fresh;
    setup.max_items = options.max_items;
    dispatcher_ = std::make_shared<detail::dispatcher>(ex, setup);
    dispatcher_->fork_now();
}

pool::~pool()
{
    close();
}

pool::executor_type pool::get_executor() const noexcept
{
    return dispatcher_->executor();
}

const asio::any_io_executor& pool::io_executor() const noexcept
{
    return dispatcher_->io_executor();
}

const std::type_info* pool::state_type() const noexcept
{
    return state_ ? &state_->type() : nullptr;
}

void pool::close() noexcept
{
    dispatcher_->shut_down(detail::failed_call(errc::pool_closed));
}

void pool::drain(std::function<void()> when_idle)
{
    dispatcher_->async_drain(std::move(when_idle));
}

pool_stats pool::stats() const
{
    return dispatcher_->stats();
}

} // namespace cofork
