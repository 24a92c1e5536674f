#include <cofork/detail/place.hpp>

#include "call.hpp"
#include "dispatcher.hpp"
#include "serial.hpp"
#include "system_call_filter.hpp"

#include <cofork/detail/driven_context.hpp>
#include <cofork/error.hpp>
#include <cofork/pool.hpp>

#include <asio/post.hpp>

#include <algorithm>
#include <system_error>

namespace cofork::detail {

namespace {

[[noreturn]] void invalid(const char* what)
{
    throw std::system_error{make_error_code(errc::invalid_options), what};
}

/// Rejects what no place could honour. The text names the field.
void check(const options& o)
{
    if (o.pause.count() < 0)
        invalid("options::pause is negative");
    if (o.timeout.count() < 0)
        invalid("options::timeout is negative");
    if (o.slow.count() < 0)
        invalid("options::slow is negative");
    if (o.deadline.count() < 0)
        invalid("options::deadline is negative");
    if (o.attempts == 0)
        invalid("options::attempts is 0: an item is started at least once");
    if (o.workers != all_cpus && o.workers > max_workers)
        invalid("options::workers is larger than 65536");
}

/// A call that could not start. Told by the job, as every end is, and never from inside the initiating function.
class failed_start final : public call_handle {
public:
    void cancel(bool) noexcept override {}
    void poke() noexcept override {}
    void abandon() noexcept override {}
};

std::shared_ptr<call_handle> fail_later(const asio::any_io_executor& ex, std::shared_ptr<job> work)
{
    asio::post(ex, [work = std::move(work), why = std::current_exception()] { work->finish(why); });
    return std::make_shared<failed_start>();
}

std::shared_ptr<call_handle> start_serial(const asio::any_io_executor& ex, const options& o, const std::shared_ptr<job>& work)
{
    if (detail::work* const here = work->inherited())
        here->stay(o.attempts);
    auto s = std::make_shared<serial>(ex, o, work);
    s->start();
    return s;
}

/// As many as there can be work for.
unsigned most_workers(const options& o, const job& work)
{
    unsigned n = o.workers == all_cpus ? available_cpus() : o.workers;
    if (const auto size = work.size())
        n = static_cast<unsigned>(std::min<std::size_t>(n, std::max<std::size_t>(*size, 1)));
    return n;
}

} // namespace

std::shared_ptr<call_handle> start_snapshot(const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> work)
{
    try {
        check(o);
        if (o.workers == 0 && o.sandbox)
            invalid("options::sandbox is for workers, and options::workers is 0");
        if (o.workers == 0 && o.output != output_mode::inherit)
            invalid("options::output is for what workers write, and options::workers is 0");
        if (o.workers == 0)
            return start_serial(ex, o, work);
        crew_setup setup;
        setup.workers = most_workers(o, *work);
        setup.life.inherited = work->inherited();
        if (o.sandbox)
            setup.rules = make_rules(*o.sandbox);
        setup.life.rules = setup.rules.get();
        setup.life.output = o.output;
        options of_call = o;
        if (o.on_event) { // of the place: it is also told of its workers
            setup.counts->listener = o.on_event;
            of_call.on_event = {};
        }
        setup.with_threads = o.with_threads;
        setup.fresh = o.fresh;
        auto place = std::make_shared<dispatcher>(ex, setup);
        place->one_call = true;
        if (work->size() != 0u)
            place->fork_now();
        auto c = std::make_shared<call>(work, of_call, clock::now());
        c->home = place;
        place->add(c);
        return c;
    }
    catch (...) {
        return fail_later(ex, std::move(work));
    }
}

void require_original(const pool& where)
{
    if (!where.dispatcher_->is_original)
        throw std::system_error{make_error_code(errc::forked_copy)};
}

std::shared_ptr<call_handle>
start_in_pool(pool& where, const asio::any_io_executor& ex, const options& o, std::shared_ptr<job> work)
{
    driven_context::involve(where.io_executor());
    try {
        check(o);
        if (work->state_type() && (!where.state_type() || *where.state_type() != *work->state_type()))
            invalid("f takes a worker's state as its first argument, and pool_options::init makes none of that type");
        if (o.sandbox)
            invalid("options::sandbox is for a call without a pool: a pool has pool_options::sandbox");
        if (o.output != output_mode::inherit)
            invalid("options::output is for a call without a pool: a pool has pool_options::output");
        if (o.workers == 0) {
            if (where.is_sandboxed())
                invalid("options::workers is 0, and the pool has a sandbox: there is no worker that it could hold");
            if (work->state_type())
                invalid("options::workers is 0, and f takes a worker's state: there is no worker");
            return start_serial(ex, o, work);
        }
        auto c = std::make_shared<call>(work, o, clock::now());
        c->home = where.dispatcher_;
        where.dispatcher_->add(c);
        return c;
    }
    catch (...) {
        return fail_later(ex, std::move(work));
    }
}

} // namespace cofork::detail
