#pragma once
// Workers that stay: made once, used by many calls.

#include <cofork/detail/completion.hpp>
#include <cofork/detail/place.hpp>
#include <cofork/detail/state_maker.hpp>
#include <cofork/options.hpp>
#include <cofork/policy.hpp>
#include <cofork/stats.hpp>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace cofork {

/// What becomes of a call when pool_options::max_calls are being served.
enum class when_full {
    wait, ///< it waits for its turn
    fail, ///< it fails at once, errc::overloaded
};

/// What a pool is made with.
struct pool_options {
    unsigned workers = all_cpus;   ///< most workers at once, at least 1; they are started while items wait
    unsigned min_workers = 0;      ///< started with the pool, and kept
    std::chrono::nanoseconds idle{0}; ///< a worker beyond min_workers ends when it has had nothing to do for so long;
                                      ///< 0 = never
    worker_init init{};            ///< called once in each worker; what it returns is handed to `f` as first argument
    worker_fini fini{};            ///< called with that when a worker is replaced, is not needed any more, or is drained
    std::chrono::nanoseconds boot_timeout{std::chrono::seconds{30}}; ///< init may take so long; 0 = for ever
    std::size_t max_items = 0;     ///< a worker is replaced after so many items; 0 = never
    std::chrono::nanoseconds max_age{0}; ///< a worker is replaced, between two items, when it is so old; 0 = never
    std::size_t max_growth = 0;    ///< bytes: a worker whose resident memory has grown by more since its first item is
                                   ///< replaced, between two batches; 0 = never
    bool fresh = false;            ///< a new process for every item
    policy sandbox{};              ///< what workers may do, and how much
    bool with_threads = false;     ///< make the pool although other threads run: see options::with_threads
    std::size_t max_calls = 0;     ///< calls that are served at once; 0 = any number
    when_full overload = when_full::wait; ///< what becomes of more
    output_mode output = output_mode::inherit; ///< what becomes of what workers write to stdout and stderr
    std::chrono::nanoseconds spin{0}; ///< at most 10 ms: before a worker sleeps it looks again for so long, while calls come
                                   ///< at shorter intervals than ten times that; and the loop keeps turning for so long
                                   ///< while an answer is due, if answers come so soon. For calls of microseconds, where
                                   ///< waking a processor costs more than the call; takes processor time, and stops
                                   ///< for a while when others want the processor
    std::function<void(const event&)> on_event{}; ///< called, on the pool's strand, for what happens to its items and workers.
                                   ///< Each item is then measured in its worker, by three system calls. An exception from it
                                   ///< ends the program. It must not wait for a thread that asks the pool something
};

namespace detail {
class dispatcher;
}

/// Worker processes that stay between calls.
///
/// The constructor forks a nursery, from which all workers come, now and later: they see the memory of that moment.
/// Make it first in main(): before threads, secrets, sockets and large data. Calls then send `f` by its address and
/// items by codec.
///
/// Threads: calls may be started from any thread, and run on the pool's executor: the range is iterated, and on_error
/// and progress are called, there. An idle pool gives its executor's context no work: run() returns.
///
/// Forks: in a child of fork(2), also in a worker, a pool is a copy that has no workers. Calls of it throw
/// std::system_error, errc::forked_copy, at once; destroying it there touches nothing of the original.
class pool {
public:
    using executor_type = asio::any_io_executor;

    /// Throws std::system_error: errc::threads_running while other threads run, errc::invalid_options, and what
    /// fork(2) gives.
    explicit pool(asio::any_io_executor ex, pool_options options = {});

    /// For anything with get_executor(): an io_context, a socket.
    template <typename Context>
        requires requires(Context& c) { asio::any_io_executor{c.get_executor()}; }
    explicit pool(Context& context, pool_options options = {})
        : pool{asio::any_io_executor{context.get_executor()}, std::move(options)}
    {
    }

    /// Calls in progress end with errc::pool_closed; all workers are killed and reaped when it returns, in a few
    /// milliseconds as a rule and at most seconds. Not from two threads at once; calls that other threads are
    /// starting at this moment are the program's error.
    ~pool();
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;

    /// The strand on which the pool works, over the executor that it was given.
    executor_type get_executor() const noexcept;

    /// Ends all calls with errc::pool_closed, now, and refuses new ones. Blocks until the workers are reaped.
    /// Idempotent; any thread.
    void close() noexcept;

    /// Refuses new calls and completes, with `void(std::error_code)`, when those in progress are over, pool_options::fini has
    /// run in all workers, for at most five seconds, and they are reaped.
    template <typename Token = asio::use_awaitable_t<>>
    auto async_drain(Token&& token = {})
    {
        return asio::async_initiate<Token, void(std::error_code)>(
            [](auto handler, pool* self) {
                using handler_type = std::decay_t<decltype(handler)>;
                auto held = std::make_shared<detail::held_handler<handler_type, std::error_code>>(std::move(handler), self->get_executor());
                self->drain([held] { held->complete(std::error_code{}); });
            },
            token, this);
    }

    /// From now on at most so many workers: those that are too many end when they have nothing to do, without a loss. Throws
    /// std::system_error, errc::invalid_options, when it is not between 1 and pool_options::workers. Any thread.
    void resize(unsigned workers);

    /// Any thread. Asks the kernel what each living worker has used: some microseconds for each.
    pool_stats stats() const;

    /// What each worker does at this moment. Any thread.
    std::vector<worker_state> worker_states() const;

    /// What is really on in every worker that has started so far; nothing before one has.
    protection enforced() const;

private:
    friend void detail::require_original(const pool&);
    friend std::shared_ptr<detail::call_handle> detail::start_in_pool(
        pool&, const asio::any_io_executor&, const options&, std::shared_ptr<detail::job>);

    const asio::any_io_executor& io_executor() const noexcept;
    const std::type_info* state_type() const noexcept;
    bool is_sandboxed() const noexcept;
    void drain(std::function<void()> when_idle);

    std::shared_ptr<detail::state_maker> state_;
    std::shared_ptr<detail::state_ender> ender_;
    std::shared_ptr<detail::dispatcher> dispatcher_;
};

} // namespace cofork
