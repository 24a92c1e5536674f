#include <cofork/detail/driven_context.hpp>

#include <asio/executor_work_guard.hpp>

#include <chrono>
#include <typeinfo>

namespace cofork::detail {

namespace {

thread_local driven_context* innermost = nullptr;

/// How long a completion that another thread posts to our own loop may wait while we are inside the pool's.
constexpr std::chrono::milliseconds patience{1};

} // namespace

driven_context::driven_context(asio::io_context& own) : own_{own}, outer_{innermost}
{
    innermost = this;
}

driven_context::~driven_context()
{
    innermost = outer_;
}

void driven_context::involve(const asio::any_io_executor& pool)
{
    if (!innermost)
        return;
    // Contexts of other kinds (asio::thread_pool) run by themselves. Asio's target() does not look at the type itself (1.22).
    using loop_executor = asio::io_context::executor_type;
    if (pool.target_type() == typeid(loop_executor))
        innermost->other_ = &asio::query(*pool.target<loop_executor>(), asio::execution::context);
}

void driven_context::run()
{
    const auto work = asio::make_work_guard(own_);
    while (!finished_) {
        if (!other_) {
            own_.run_one();
            continue;
        }
        if (other_->stopped()) // it ran out of work before, in a run() of the program's
            other_->restart();
        other_->run_one_for(patience);
        own_.poll();
    }
}

} // namespace cofork::detail
