#pragma once
// One call of a verb: a task on one side, what becomes of its outcomes on the other.

#include <cofork/detail/arriving.hpp>
#include <cofork/detail/blocks.hpp>
#include <cofork/detail/completion.hpp>
#include <cofork/detail/place.hpp>
#include <cofork/detail/tasks.hpp>
#include <cofork/error.hpp>
#include <cofork/outcome.hpp>

#include <concepts>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace cofork::detail {

/// The job that a Task and a Sink make together. A Sink decides what becomes of outcomes:
///
///     bool keeps_failures     a range that throws is the failure of its next item, else it ends the call
///     room, over_when_idle    as job::room, job::over_when_idle
///     value, failed, finish, abandon
///     expect(n)               optional: as many outcomes will come, as far as that is known, or fewer
///     make_room(n)            optional: before values of indices below n
///     overtaken(n)            optional: the call ended early and had n items, as far as that is known
template <typename Task, typename Sink, typename Allocator = std::allocator<void>>
class task_job final : public job {
public:
    using result = typename Task::result;

    /// In memory of the allocator. It is to be kept() at once, or nobody frees it.
    template <typename... Args>
    static task_job& make(const Allocator& from, Args&&... args)
    {
        using memory = blocks<Allocator, alignof(task_job)>;
        void* const place = memory::allocate(from, sizeof(task_job));
        try {
            return *new (place) task_job{from, std::forward<Args>(args)...};
        }
        catch (...) {
            memory::deallocate(from, place, sizeof(task_job));
            throw;
        }
    }
    std::shared_ptr<job> kept() { return {static_cast<job*>(this), &free, allocator_}; }

    Task& task() noexcept { return task_; }
    /// Makes room for what will come, once, before anything of the call is in the heap: else small pieces lie where the results of
    /// the last call lay, and the next ones find no room there. Throws std::bad_alloc.
    void prepare()
    {
        if constexpr (requires { sink_.expect(taken_); })
            sink_.expect(size().value_or(0));
    }

    work* inherited() noexcept override { return task_.inherited(); }
    const entry* code() const noexcept override
    {
        if constexpr (requires { task_.code(); })
            return task_.code();
        else
            return nullptr;
    }
    byte_view captures() const noexcept override
    {
        if constexpr (requires { task_.captures(); })
            return task_.captures();
        else
            return {};
    }
    const std::type_info* state_type() const noexcept override
    {
        if constexpr (requires { task_.state_type(); })
            return task_.state_type();
        else
            return nullptr;
    }
    bool is_single() const noexcept override
    {
        return requires { Task::is_single; };
    }
    bool by_index() const noexcept override { return Task::by_index; }
    std::optional<std::size_t> size() const override
    {
        if constexpr (requires { task_.size(); })
            return task_.size();
        else
            return const_cast<Task&>(task_).source().size(); // begin() and size() of a view need not be const
    }

    pulled pull(encoded_items& out) override
    {
        if constexpr (Task::by_index)
            return pulled::end;
        else {
            const std::size_t before = out.bytes.size();
            try {
                const pulled got = source_pull(out);
                taken_ += got == pulled::item ? 1 : 0;
                return got;
            }
            catch (...) {
                if (!Sink::keeps_failures)
                    throw;
                out.bytes.resize(before);
                out.left.clear();
                failure why = current_failure();
                why.index = taken_;
                why.what.insert(0, why.what.empty() ? "the range of items threw" : "the range of items threw: ");
                sink_.failed(std::move(why));
                return pulled::end;
            }
        }
    }

    std::size_t room(std::size_t window) override { return sink_.room(window); }
    bool over_when_idle() override { return sink_.over_when_idle(); }

    block_maker result_maker() const noexcept override { return maker_of<result>(); }
    std::uint32_t deliver(std::uint64_t first, const result_run& results) override
    {
        const auto index = static_cast<std::size_t>(first);
        std::uint32_t taken = 0;
        try {
            if constexpr (requires { sink_.make_room(index); })
                sink_.make_room(index + results.count);
            for (; taken < results.count; ++taken)
                deliver_one(index + taken, results[taken]);
        }
        catch (...) {
            if (taken == 0)
                throw;
        }
        return taken;
    }
    bool deliver(failure why) override
    {
        return sink_.failed(std::move(why));
    }
    void finish(std::exception_ptr why) noexcept override
    {
        if constexpr (requires { sink_.overtaken(taken_); }) {
            if (why)
                sink_.overtaken(size().value_or(taken_));
        }
        sink_.finish(std::move(why));
    }
    void abandon() noexcept override { sink_.abandon(); }

private:
    template <typename F, typename Input, typename... Outcomes>
    task_job(const Allocator& from, F&& f, Input&& input, Outcomes&&... outcomes)
        : sink_{std::forward<Outcomes>(outcomes)...}, task_{std::forward<F>(f), std::forward<Input>(input)}, allocator_{from}
    {
    }

    static void free(job* done) noexcept
    {
        auto* const self = static_cast<task_job*>(done);
        const Allocator to = std::move(self->allocator_);
        self->~task_job();
        blocks<Allocator, alignof(task_job)>::deallocate(to, self, sizeof(task_job));
    }

    pulled source_pull(encoded_items& out)
    {
        if constexpr (requires { task_.pull(out); })
            return task_.pull(out);
        else
            return task_.source().pull(out);
    }

    void deliver_one(std::size_t index, const travelled& from)
    {
        if constexpr (std::is_void_v<result>) {
            decoder{from.bytes}.finish();
            sink_.value(index);
        }
        else
            sink_.value(index, value_of<result>(from));
    }

    Sink sink_;
    Task task_;
    std::size_t taken_ = 0;
    Allocator allocator_;
};

/// The error_code of what ended a call early; exceptions of the caller's own callbacks have none of their own.
inline std::error_code code_of(const std::exception_ptr& why) noexcept
{
    if (!why)
        return {};
    try {
        std::rethrow_exception(why);
    }
    catch (const std::system_error& e) {
        return e.code();
    }
    catch (...) {
        return make_error_code(errc::callback_threw);
    }
}

} // namespace cofork::detail
