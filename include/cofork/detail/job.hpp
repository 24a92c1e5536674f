#pragma once
// The narrow waist: what the compiled core knows of one call. Templates own items, f, results and handler; the core
// sees bytes.

#include <cofork/codec.hpp>
#include <cofork/failure.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <system_error>
#include <typeinfo>
#include <vector>

namespace cofork::detail {

using byte_view = std::span<const std::byte>;
using byte_buffer = std::vector<std::byte>;

/// A value that is one block of elements behind their number, made while the block comes.
class arriving_block {
public:
    /// Bytes of the number.
    static constexpr std::size_t lead = sizeof(std::uint64_t);

    virtual ~arriving_block() = default;

    /// So many bytes will come, or fewer. Throws std::bad_alloc.
    virtual void expect(std::size_t size) = 0;
    /// The next ones, which somebody may change meanwhile. Throws std::bad_alloc.
    virtual void add(byte_view more) = 0;
};

/// Makes an empty one. Throws std::bad_alloc. Null for a value that is wanted in one piece.
using block_maker = std::unique_ptr<arriving_block> (*)();

/// A value as it came.
struct travelled {
    byte_view bytes;
    arriving_block* block = nullptr; ///< what came behind them, if not null
};

/// Encoded results of consecutive items, all of one size, one every `stride` bytes.
struct result_run {
    const std::byte* first;
    std::size_t size;
    std::size_t stride;
    std::uint32_t count;
    arriving_block* block = nullptr; ///< of a single one, what came behind its bytes

    travelled operator[](std::size_t i) const noexcept { return {{first + i * stride, size}, block}; }
    /// Without the first `n`.
    result_run behind(std::uint32_t n) const noexcept { return {first + n * stride, size, stride, count - n, block}; }
};

/// Items as they travel, but for large blocks, which stay where they are. What has such a block is the last item.
struct encoded_items {
    byte_buffer bytes;
    std::vector<left_block> left; ///< in the order of their places
};

/// What the exception says that is being handled, which was thrown in this process.
failure current_failure();

/// What a worker of a snapshot runs. The object is inherited through the fork.
class work {
public:
    virtual ~work() = default;

    /// Calls f on one item and appends the encoded result. `item` is empty when items are read by index.
    /// Throws whatever f or a codec throws.
    virtual void run(std::uint64_t index, const travelled& item, encoder& result) = 0;
    /// For an item that is large.
    virtual block_maker item_maker() const noexcept { return nullptr; }

    /// It will run here, in the process of its items, and up to so many times for each: what f takes or changes has to be a
    /// copy. Throws std::system_error: errc::invalid_options when there can be none.
    virtual void stay(unsigned attempts) = 0;
};

/// What a worker of a pool runs, known by its address: every worker is a fork of the image that has it.
struct entry {
    /// `state` is what pool_options::init returned in this worker, or null.
    void (*run)(void* state, byte_view captures, const travelled& item, encoder& result);
    block_maker item_maker; ///< for an item that is large
};

/// What came of asking a job for its next item.
enum class pulled {
    item,  ///< its bytes were appended
    later, ///< none now; the job will say when that changes
    end,   ///< there are no more
};

/// One call as the core sees it. Called on the strand of the place that runs it, and only there; `finish` is
/// called exactly once, last.
class job {
public:
    virtual ~job() = default;

    /// For a snapshot and for the serial mode: what runs an item. Null when the job is made for a pool.
    virtual work* inherited() noexcept = 0;
    /// For a pool: what runs an item, and the bytes of f.
    virtual const entry* code() const noexcept { return nullptr; }
    virtual byte_view captures() const noexcept { return {}; }
    /// For a pool: the type of state that f takes as its first argument, or null.
    virtual const std::type_info* state_type() const noexcept { return nullptr; }

    /// Made by run(): one item, and people know it by the number of its call.
    virtual bool is_single() const noexcept { return false; }
    /// Whether items are read by index in the worker: then pull() is never called and size() is known.
    virtual bool by_index() const noexcept = 0;
    /// The number of items, where the range knows it.
    virtual std::optional<std::size_t> size() const = 0;
    /// Appends the next item's bytes. Throws what the range or the codec throws.
    virtual pulled pull(encoded_items& out) = 0;

    /// How many more items may be started before results are read.
    virtual std::size_t room(std::size_t chosen_window) = 0;
    /// Nothing runs and pull() said `later`: whether the call is over.
    virtual bool over_when_idle() = 0;

    /// For a result that is large.
    virtual block_maker result_maker() const noexcept { return nullptr; }
    /// Takes the results of the items from `first` on; returns how many it took before one that it could not, which is offered
    /// again. Throws when that is the first one: decode_error when its bytes are not a value. Precondition: results.count > 0.
    virtual std::uint32_t deliver(std::uint64_t first, const result_run& results) = 0;
    /// Takes a failure. Returns whether the call goes on.
    virtual bool deliver(failure why) = 0;

    /// The call is over, all its workers are at rest or reaped. `why` is null, or what ended it early.
    virtual void finish(std::exception_ptr why) noexcept = 0;
    /// The execution context is being destroyed: frees the handler without calling it.
    virtual void abandon() noexcept = 0;
};

} // namespace cofork::detail
