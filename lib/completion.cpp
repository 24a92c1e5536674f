// What all handlers have in common on their way to their executor.

#include <cofork/detail/completion.hpp>
#include <cofork/detail/driven_context.hpp>

#include <asio/dispatch.hpp>
#include <asio/execution/blocking.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/prefer.hpp>
#include <asio/require.hpp>
#include <asio/system_executor.hpp>

#include <typeinfo>
#include <utility>

namespace cofork::detail {

namespace {

thread_local bool beside_io = false;

struct posted {
    owned_completion what;
    bool beside;

    void operator()()
    {
        completion& c = *what;
        const auto io = c.take_io();
        c.dispatch(std::move(what), beside);
    }
};

} // namespace

completion::completion(const asio::any_io_executor& io) : io_{io} {}

completion::~completion() = default;

asio::any_io_executor outlasting(const asio::any_io_executor& ex)
{
    if (driven_context::is_loop_of_wait(ex))
        return ex;
    return asio::prefer(ex, asio::execution::outstanding_work.tracked);
}

void post_completion(owned_completion c)
{
    // As asio::post(), which also copies the executor once for each wish that none of ours knows.
    const auto io = asio::require(c->io(), asio::execution::blocking.never);
    io.execute(posted{std::move(c), beside_io});
}

bool complete_beside(bool now) noexcept
{
    return std::exchange(beside_io, now);
}

void dispatch_completion(const asio::any_io_executor& ex, owned_completion c, bool beside)
{
    // The system executor has nothing to do with the I/O executor; to post there starts its threads.
    if (beside && ex.target_type() != typeid(asio::system_executor))
        asio::require(ex, asio::execution::blocking.never).execute(completion_runner{std::move(c)});
    else
        asio::dispatch(ex, completion_runner{std::move(c)});
}

std::shared_ptr<canceller> canceller::make()
{
    return std::make_shared<canceller>();
}

void canceller::started(std::weak_ptr<call_handle> call) noexcept
{
    const std::lock_guard lock{mutex_};
    call_ = std::move(call);
    if (asked_)
        tell(*asked_);
}

void canceller::cancel(asio::cancellation_type type) noexcept
{
    const std::lock_guard lock{mutex_};
    asked_ = type;
    tell(type);
}

void canceller::tell(asio::cancellation_type type) noexcept
{
    if (const auto call = call_.lock())
        call->cancel((type & asio::cancellation_type::terminal) != asio::cancellation_type::none);
}

std::shared_ptr<canceller> listen_to_slot(asio::cancellation_slot slot)
{
    if (!slot.is_connected())
        return nullptr;
    auto to = canceller::make();
    slot.assign(cancel_hook{to});
    return to;
}

} // namespace cofork::detail
