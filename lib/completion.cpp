// What all handlers have in common on their way to their executor.

#include <cofork/detail/completion.hpp>

#include <asio/dispatch.hpp>
#include <asio/execution/blocking.hpp>
#include <asio/require.hpp>

#include <utility>

namespace cofork::detail {

namespace {

struct posted {
    owned_completion what;

    void operator()()
    {
        completion& c = *what;
        c.dispatch(std::move(what));
    }
};

} // namespace

completion::completion(const asio::any_io_executor& io) : io_{io} {}

completion::~completion() = default;

void post_completion(owned_completion c)
{
    const auto io = c->take_io(); // at work until it is posted; then what is posted keeps it so
    // As asio::post(), which also copies the executor once for each wish that none of ours knows.
    asio::require(io.get_executor(), asio::execution::blocking.never).execute(posted{std::move(c)});
}

void dispatch_completion(const asio::any_io_executor& ex, owned_completion c)
{
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
