#pragma once
// Items, what f makes of them, and the books: how often each was started and finished, and what came of it.

#include "checks.hpp"
#include "figures.hpp"

#include "../support/leaves_nothing.hpp"

#include <cofork/failure.hpp>
#include <cofork/outcome.hpp>
#include <cofork/stream.hpp>

#include <asio/awaitable.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <sys/mman.h>
#include <sys/types.h>

namespace soak {

/// A number that depends on both, and on nothing else: for planning that a seed repeats.
constexpr std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept
{
    std::uint64_t x = a * 0x9e3779b97f4a7c15u + b + 0x632be59bd9b4e019u; // splitmix64
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/// Memory that stays shared across forks. Make it before what forks.
template <typename T>
class shared_array {
public:
    explicit shared_array(std::size_t size) : size_{size}
    {
        // A page more than needed: workers are found by the size of their own mapping (support/worker_side.hpp).
        bytes_ = ((size * sizeof(T) + 4095) / 4096 + 17) * 4096;
        void* const memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(memory != MAP_FAILED);
        objects_ = static_cast<T*>(memory); // zero-filled by the kernel, which is what every T here starts as
    }
    shared_array(const shared_array&) = delete;
    shared_array& operator=(const shared_array&) = delete;
    ~shared_array() { ::munmap(objects_, bytes_); }

    T& operator[](std::size_t i) const noexcept { return objects_[i]; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] T* begin() const noexcept { return objects_; }
    [[nodiscard]] T* end() const noexcept { return objects_ + size_; }

private:
    T* objects_ = nullptr;
    std::size_t size_;
    std::size_t bytes_ = 0;
};

struct item {
    std::uint64_t index = 0;
    std::uint64_t nonce = 0;
    std::uint64_t cost = 0; ///< ns of work
    std::uint64_t size = 0; ///< bytes of the result
    std::uint64_t plan = 0; ///< what else f does; each run has its own
};

struct entry {
    std::atomic<std::uint32_t> starts;
    std::atomic<std::uint32_t> finishes;
    std::atomic<pid_t> pid; ///< of the worker that started it last
    std::atomic<std::uint64_t> began; ///< on clock_ns(), the last start
};

using ledger = shared_array<entry>;

extern const ledger* books; ///< of the items in progress; f finds them there

/// Makes `own` the books in use.
class keep_books {
public:
    explicit keep_books(const ledger& own) { books = &own; }
    ~keep_books() { books = nullptr; }
    keep_books(const keep_books&) = delete;
    keep_books& operator=(const keep_books&) = delete;
};

/// What f(item) has to be.
std::string result_of(const item& i);
bool is_result_of(const item& i, const std::string& value);

/// f: notes its start, works, notes its end. The rest of the plan is the run's.
void note_start(const item& i);
void note_finish(const item& i);
void spend(std::uint64_t ns);
std::string work(const item& i);

/// Costs around `median` ns, log-normal: a few cost ten times as much.
std::uint64_t lognormal(std::uint64_t median, std::uint64_t random);

/// Looks at every outcome of one call, and at the end into the books.
class audit {
public:
    /// Whether this failure is one that this item may have.
    using judge = std::function<bool(const item&, const cofork::failure&)>;

    audit(const std::vector<item>& items, const ledger& starts, unsigned attempts, judge may_fail)
        : items_{items}, ledger_{starts}, attempts_{attempts}, may_fail_{std::move(may_fail)}, seen_(items.size()),
          last_{clock_ns()}
    {
    }

    void take(std::size_t index, const cofork::outcome<std::string>& o);
    /// All outcomes are there: none may be missing.
    void close();

    /// Takes all that comes.
    asio::awaitable<void> drain(cofork::result_stream<std::string>& results);

    [[nodiscard]] std::uint64_t values() const { return values_; }
    [[nodiscard]] std::uint64_t failures() const { return failures_; }
    /// For outcomes in an order that says nothing about progress.
    void ignore_gaps() { gaps_ = false; }

private:
    void note_wait(std::size_t index, const cofork::outcome<std::string>& o, std::uint64_t ns) const;

    const std::vector<item>& items_;
    const ledger& ledger_;
    unsigned attempts_;
    judge may_fail_;
    std::vector<std::uint8_t> seen_; // 1: a value, 2: a failure
    std::uint64_t last_;
    std::uint64_t values_ = 0;
    std::uint64_t failures_ = 0;
    bool gaps_ = true;
};

} // namespace soak
