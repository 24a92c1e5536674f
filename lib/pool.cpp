#include <cofork/pool.hpp>

#include "dispatcher.hpp"
#include "failed_call.hpp"
#include "system_call_filter.hpp"

#include <cofork/detail/driven_context.hpp>
#include <cofork/error.hpp>
#include <cofork/transport.hpp>

#include <system_error>

namespace cofork {

namespace {

[[noreturn]] void invalid(const char* what)
{
    throw std::system_error{make_error_code(errc::invalid_options), what};
}

detail::crew_setup setup_of(const pool_options& options)
{
    detail::crew_setup setup;
    setup.workers = options.workers == all_cpus ? available_cpus() : options.workers;
    if (setup.workers == 0 || setup.workers > detail::max_workers)
        invalid("pool_options::workers is not between 1 and 65536");
    if (options.min_workers > setup.workers)
        invalid("pool_options::min_workers is larger than workers");
    for (const std::chrono::nanoseconds time : {options.idle, options.boot_timeout, options.max_age, options.spin}) {
        if (time.count() < 0)
            invalid("pool_options::idle, boot_timeout, max_age or spin is negative");
    }
    if (options.spin > detail::longest_spin)
        invalid("pool_options::spin is longer than 10 ms");
    const auto& init = options.init.maker();
    const auto& fini = options.fini.ender();
    if (fini && (!init || init->type() != fini->type()))
        invalid("pool_options::fini takes a state of another type than the one that init makes");
    setup.least = options.min_workers;
    setup.rules = detail::make_rules(options.sandbox);
    setup.life = {nullptr, init.get(), fini.get(), options.idle.count(), options.max_growth, setup.rules.get(),
        options.output, options.spin.count()};
    setup.counts = std::make_shared<detail::tally>(options.on_event);
    setup.with_threads = options.with_threads;
    setup.fresh = options.fresh;
    setup.max_items = options.max_items;
    setup.max_age = options.max_age;
    setup.boot_timeout = options.boot_timeout;
    setup.max_calls = options.max_calls;
    setup.overload = options.overload;
    setup.spin = options.spin;
    return setup;
}

} // namespace

pool::pool(asio::any_io_executor ex, pool_options options) : state_{options.init.maker()}, ender_{options.fini.ender()}
{
    dispatcher_ = std::make_shared<detail::dispatcher>(ex, setup_of(options));
    dispatcher_->fork_now();
    (void)transport(ex); // makes the ring of the context: a fifth of a millisecond that the loop need not stand still for
    dispatcher_->start_least();
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
    detail::driven_context::involve(io_executor());
    dispatcher_->async_drain(std::move(when_idle));
}

void pool::resize(unsigned workers)
{
    dispatcher_->resize(workers);
}

pool_stats pool::stats() const
{
    return dispatcher_->stats();
}

std::vector<worker_state> pool::worker_states() const
{
    return dispatcher_->worker_states();
}

bool pool::is_sandboxed() const noexcept
{
    return dispatcher_->is_sandboxed();
}

protection pool::enforced() const
{
    return dispatcher_->enforced();
}

} // namespace cofork
