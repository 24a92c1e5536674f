#include "worker.hpp"

#include "crash_handler.hpp"
#include "durations.hpp"
#include "exception_report.hpp"
#include "frame.hpp"
#include "item_timer.hpp"
#include "job_stream.hpp"
#include "own_output.hpp"
#include "process.hpp"
#include "reply_stream.hpp"
#include "sandbox.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <limits>
#include <new>
#include <optional>
#include <typeinfo>

#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

std::uint64_t processor_time_ns() noexcept
{
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

std::uint64_t peak_memory_bytes() noexcept
{
    rusage used{};
    ::getrusage(RUSAGE_SELF, &used);
    return static_cast<std::uint64_t>(used.ru_maxrss) * 1024; // KiB (getrusage(2))
}

class worker final : whole_result_taker {
public:
    explicit worker(const worker_setup& setup)
        : setup_{setup}, page_{*setup.shared}, replies_{setup.results, page_, setup.large},
          jobs_{setup.jobs, page_, setup.large, replies_, setup.life},
          output_{page_, setup.output}
    {
        result_.reserve(4096);
    }

    [[noreturn]] void run()
    {
        make_state();
        try {
            work();
        }
        catch (const time_to_go&) {
            replies_.flush(); // fini may take long
            end_state();
        }
        ::_exit(EXIT_SUCCESS);
    }

private:
    [[noreturn]] void work()
    {
        const ready_note note{static_cast<std::uint32_t>(shut_in()), cpu_seconds()};
        page_.pid.store(static_cast<std::uint32_t>(::getpid()), std::memory_order_release);
        // Now, before any f has run: later the parent could not believe it.
        std::array<std::byte, sizeof note> payload;
        store(payload.data(), note);
        replies_.add(reply_kind::ready, 0, 0, {{byte_view{payload}}});
        replies_.flush();
        for (;;) {
            batch_ = load<job_header>(jobs_.take(sizeof(job_header)).data());
            if (batch_.magic != job_magic)
                ::_exit(EXIT_FAILURE);
            const byte_view captures = jobs_.take(batch_.captures);
            captures_.assign(captures.begin(), captures.end());
            for (std::uint32_t i = 0; i < batch_.count; ++i) {
                left_ = batch_.count - i - 1;
                next_item(batch_.first + i);
            }
        }
    }

    // UBSan takes the way in which pthread_exit is caught for a null reference.
    __attribute__((no_sanitize("null"))) void make_state()
    {
        if (!setup_.life.state)
            return;
        try {
            state_ = setup_.life.state->make();
            output_.end();
        }
        catch (abi::__forced_unwind&) {
            ::_exit(EXIT_FAILURE);
        }
        catch (...) {
            give_up();
        }
    }

    /// What came before is the program's own code, what comes from now on may be anybody's.
    protection shut_in()
    {
        if (!setup_.life.rules)
            return protection::none;
        try {
            cpu_.emplace(setup_.life.rules);
            return enter_sandbox(*setup_.life.rules);
        }
        catch (...) {
            give_up();
        }
    }

    std::uint32_t cpu_seconds() const noexcept
    {
        const sandbox_rules* const rules = setup_.life.rules;
        rlimit most{};
        if (!rules || rules->wanted.cpu.count() == 0 || ::getrlimit(RLIMIT_CPU, &most) != 0 || most.rlim_max == RLIM_INFINITY)
            return 0;
        return static_cast<std::uint32_t>(std::min<rlim_t>(most.rlim_max, std::numeric_limits<std::uint32_t>::max()));
    }

    /// Precondition: an exception is being handled.
    [[noreturn]] void give_up() noexcept
    {
        output_.end();
        replies_.add(reply_kind::unfit, 0, 0, {{report_.of_current_exception(0)}});
        replies_.flush();
        ::_exit(EXIT_FAILURE);
    }

    /// What fini throws is for nobody: the worker is not there any more.
    __attribute__((no_sanitize("null"))) void end_state() noexcept
    {
        if (!state_ || !setup_.life.ender)
            return;
        try {
            setup_.life.ender->end(state_);
            output_.end();
        }
        catch (abi::__forced_unwind&) {
            ::_exit(EXIT_FAILURE);
        }
        catch (...) {
            ::_exit(EXIT_FAILURE);
        }
    }

    void next_item(std::uint64_t index)
    {
        if (!batch_.by_index)
            jobs_.open_item();
        // Read before the start is published: an item that is still arriving has not started.
        if (!still_ours())
            return jobs_.skip_item();
        std::uint32_t sequence = 0;
        try {
            const travelled item = batch_.by_index ? travelled{} : jobs_.take_item(item_maker());
            if (cpu_ && !cpu_->begin())
                throw time_to_go{};
            if (claim(sequence))
                run_item(index, item, sequence);
            else
                jobs_.drop_item(); // nobody knows when the next one comes
            if (cpu_)
                cpu_->end();
        }
        catch (const std::bad_alloc&) { // of the item: those of f are caught where it runs
            const byte_view said = report_.of_current_exception(0);
            jobs_.skip_item();
            if (claim(sequence))
                finish(kind_of_bad_alloc(), sequence, {{{}, {}, said}});
        }
    }

    reply_kind kind_of_bad_alloc() const noexcept
    {
        const sandbox_rules* const rules = setup_.life.rules;
        return rules && rules->wanted.memory > 0 ? reply_kind::no_memory : reply_kind::threw;
    }

    bool still_ours() const noexcept
    {
        return claimed_ > 0 || epoch_of(page_.claim.load(std::memory_order_acquire)) == batch_.epoch;
    }

    /// How many may be claimed at once: where nobody has to know when each begins, those that take less than to claim one does,
    /// that have arrived, and whose replies the page has room for, so that nothing is waited for between them.
    std::uint32_t claims_at_once() noexcept
    {
        if (batch_.exact || cpu_ || !timer_.are_cheap() || output_.is_read() || !replies_.has_room(most_claimed))
            return 1;
        const std::uint32_t most = std::min(left_, most_claimed - 1);
        return 1 + (batch_.by_index ? most : jobs_.whole_items(most));
    }

    bool claim(std::uint32_t& sequence) noexcept
    {
        if (batch_.measured)
            cpu_before_ = processor_time_ns();
        const bool has_waited = jobs_.has_waited();
        page_.started_at.store(timer_.begin(batch_.exact, has_waited), std::memory_order_relaxed);
        if (has_waited)
            replies_.wait_from(timer_.began());
        if (claimed_ > 0) {
            --claimed_;
            ++sequence_;
        }
        else if (!claim_some())
            return false;
        sequence = sequence_;
        page_.started.store(sequence + 1, std::memory_order_release);
        return true;
    }

    bool claim_some() noexcept
    {
        std::uint64_t seen = page_.claim.load(std::memory_order_acquire);
        if (epoch_of(seen) != batch_.epoch)
            return false;
        const std::uint32_t some = claims_at_once();
        sequence_ = claimed_of(seen);
        if (!page_.claim.compare_exchange_strong(seen, make_claim(batch_.epoch, sequence_ + some), std::memory_order_acq_rel))
            return false;
        claimed_ = some - 1;
        return true;
    }

    /// Null for that of the snapshot.
    const entry* code() const noexcept
    {
        return reinterpret_cast<const entry*>(batch_.entry); // NOLINT(performance-no-int-to-ptr)
    }

    block_maker item_maker() const noexcept { return code() ? code()->item_maker : setup_.life.inherited->item_maker(); }

    __attribute__((no_sanitize("null"))) void run_item(std::uint64_t index, const travelled& item, std::uint32_t sequence)
    {
        result_.clear();
        passed_on_ = false;
        output_.begin(index, batch_.call, sequence);
        reply_kind kind = reply_kind::value;
        byte_view payload;
        try {
            encoder out{result_, batch_.max_result, this};
            if (code())
                code()->run(state_, captures_, item, out);
            else
                setup_.life.inherited->run(index, item, out);
            if (passed_on_)
                return;
            payload = result_;
        }
        catch (const encode_too_large&) {
            kind = reply_kind::limit;
            payload = report();
        }
        catch (abi::__forced_unwind&) { // pthread_exit in f: there is no item to go on with
            ::_exit(EXIT_FAILURE);
        }
        catch (const std::bad_alloc&) {
            kind = kind_of_bad_alloc();
            payload = report();
        }
        catch (...) {
            kind = reply_kind::threw;
            payload = report();
        }
        finish(kind, sequence, {{{}, {}, payload}});
    }

    void take(std::uint64_t count, byte_view bytes) noexcept override
    {
        passed_on_ = true;
        std::array<std::byte, sizeof count> lead;
        store(lead.data(), count);
        finish(reply_kind::value, sequence_, {{{}, byte_view{lead}, bytes}});
    }

    /// Of the exception that f threw.
    byte_view report() noexcept
    {
        const std::uint64_t elapsed = timer_.now() - timer_.began();
        output_.end();
        return report_.of_current_exception(elapsed, output_.printed());
    }

    /// The first part of what is `said` is for what the item has used. By reference: to copy what was written a moment ago
    /// takes a tenth of what a trivial item does.
    void finish(reply_kind kind, std::uint32_t sequence, reply_pieces&& said)
    {
        output_.end();
        jobs_.drop_item();
        const std::uint64_t began = timer_.began();
        const std::uint64_t ran = timer_.end(batch_.exact || left_ == 0); // what a batch has cost is told in whole
        page_.busy.store(timer_.busy(), std::memory_order_relaxed);
        page_.finished.store(sequence + 1, std::memory_order_release);
        std::array<std::byte, sizeof(item_usage)> used;
        if (batch_.measured) {
            store(used.data(), item_usage{began, ran, processor_time_ns() - cpu_before_, peak_memory_bytes()});
            said[0] = used;
        }
        replies_.add(kind, duration_class(ran), sequence, said);
        output_.between();
        const std::uint64_t now = timer_.latest();
        // The end of a batch is the best moment: while the next one runs, the one behind it has to be sent.
        if (claimed_ == 0)
            replies_.flush_when_due(now, left_ == 0 ? batch_.may_wait / 2 : batch_.may_wait);
        if (replies_.last_flush() > now)
            timer_.pause();
        if (result_.capacity() > large_result)
            byte_buffer{}.swap(result_); // one large result must not be this worker's size for ever
    }

    static constexpr std::uint32_t most_claimed = 8;
    static constexpr std::size_t large_result = std::size_t{1} << 20;

    const worker_setup& setup_;
    page& page_;
    reply_stream replies_;
    job_stream jobs_;
    job_header batch_{};
    byte_buffer captures_;
    byte_buffer result_;
    exception_report report_;
    std::uint32_t sequence_ = 0; // of the item that runs
    std::uint32_t claimed_ = 0;  // behind it
    bool passed_on_ = false;     // its result has gone
    void* state_ = nullptr;
    std::optional<cpu_alarm> cpu_; // of a sandbox
    std::uint32_t left_ = 0; // behind the present item, in its batch
    item_timer timer_;
    std::uint64_t cpu_before_ = 0; // the item, when its batch is measured
    own_output output_;
};

} // namespace

[[noreturn]] void worker_main(const worker_setup& setup) noexcept
{
    // f may call exit(): handlers run last in, first out, so this one ends the process before the handlers and the
    // static objects of the program that was forked.
    ::on_exit([](int status, void*) { ::_exit(status); }, nullptr);
    ::at_quick_exit([] { ::_exit(EXIT_FAILURE); }); // is not told the status
    install_crash_handler(setup.shared->crash);
    worker{setup}.run();
}

} // namespace cofork::detail
