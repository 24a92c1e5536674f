#include <cofork/detail/driven_context.hpp>

#include <asio/execution/blocking.hpp>
#include <asio/execution/context.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <typeinfo>

namespace cofork::detail {

namespace {

thread_local driven_context* innermost = nullptr;

/// The loops of all threads.
std::mutex loops_mutex;
std::vector<const asio::execution_context*> loops;
std::atomic<int> how_many = 0; // as a rule none: then a completion takes no lock

/// How long a completion that another thread posts to our own loop may wait while we are inside others.
constexpr std::chrono::microseconds patience{1000};

/// The executor's io_context, also behind a strand. Null: its context is of another kind (asio::thread_pool), which runs by itself.
/// Asio's target() does not look at the type itself (1.22).
asio::io_context* loop_of(const asio::any_io_executor& ex)
{
    using loop_executor = asio::io_context::executor_type;
    using loop_strand = asio::strand<loop_executor>;
    using any_strand = asio::strand<asio::any_io_executor>;
    const asio::any_io_executor plain =
        asio::prefer(ex, asio::execution::outstanding_work.untracked, asio::execution::blocking.possibly);
    if (plain.target_type() == typeid(loop_executor))
        return &asio::query(*plain.target<loop_executor>(), asio::execution::context);
    if (plain.target_type() == typeid(loop_strand))
        return &asio::query(plain.target<loop_strand>()->get_inner_executor(), asio::execution::context);
    if (plain.target_type() == typeid(any_strand))
        return loop_of(plain.target<any_strand>()->get_inner_executor());
    return nullptr;
}

} // namespace

/// Lets go of a context that ends while it is driven.
class driven_context::watch final : public asio::execution_context::service {
public:
    using key_type = watch;
    inline static asio::execution_context::id id;

    explicit watch(asio::execution_context& context) : service{context} {}

private:
    void shutdown() noexcept override
    {
        for (driven_context* each = innermost; each; each = each->outer_)
            std::erase_if(each->others_, [this](const asio::io_context* other) { return other == &context(); });
    }
};

driven_context::driven_context(asio::io_context& own) : own_{own}, outer_{innermost}
{
    // A first timer makes the loop's reactor. Without one the loop sleeps on a condition variable, which Asio signals when it has let
    // go of its lock: the thread that posts our last completion could do that after the loop has ended. A reactor is woken under it.
    const asio::steady_timer first{own};
    const std::lock_guard lock{loops_mutex};
    loops.push_back(&own);
    ++how_many;
    innermost = this;
}

driven_context::~driven_context()
{
    innermost = outer_;
    const std::lock_guard lock{loops_mutex};
    std::erase(loops, &own_);
    --how_many;
}

bool driven_context::is_loop_of_wait(const asio::any_io_executor& ex) noexcept
{
    if (how_many == 0 || ex.target_type() != typeid(asio::io_context::executor_type))
        return false;
    const std::lock_guard lock{loops_mutex};
    return std::ranges::find(loops, &asio::query(ex, asio::execution::context)) != loops.end();
}

void driven_context::involve(const asio::any_io_executor& pool)
{
    if (!innermost || !pool)
        return;
    asio::io_context* const loop = loop_of(pool);
    auto& others = innermost->others_;
    if (!loop || loop == &innermost->own_ || std::ranges::find(others, loop) != others.end())
        return;
    asio::use_service<watch>(*loop);
    others.push_back(loop);
}

void driven_context::run()
{
    const auto work = asio::make_work_guard(own_);
    std::exception_ptr thrown;
    while (!finished_) {
        try {
            if (others_.empty()) {
                own_.run_one();
                continue;
            }
            run_others();
            own_.poll();
        }
        catch (...) { // by another handler; what is waited for goes on, and needs us here
            thrown = thrown ? thrown : std::current_exception();
        }
    }
    if (thrown)
        std::rethrow_exception(thrown);
}

void driven_context::run_others()
{
    for (std::size_t i = 0; i < others_.size(); ++i) { // one that ends takes itself out
        asio::io_context& other = *others_[i];
        if (other.stopped()) // it ran out of work before, in a run() of the program's
            other.restart();
        other.run_one_for(patience / others_.size());
    }
}

} // namespace cofork::detail
