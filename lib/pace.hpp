#pragma once
// When the next item may start, and how many go into one batch. Pure: time is an argument, never read here.

#include <chrono>
#include <cstddef>
#include <optional>

namespace cofork::detail {

/// Keeps item starts at least `pause` apart, over all workers and all attempts. The first start is free.
class gate {
public:
    using time_point = std::chrono::steady_clock::time_point;

    explicit gate(std::chrono::nanoseconds pause) noexcept : pause_{pause} {}

    [[nodiscard]] bool open(time_point now) const noexcept { return now >= opens_at_; }

    /// When the next item may start; in the past when it may start at once.
    [[nodiscard]] time_point opens_at() const noexcept { return opens_at_; }

    /// An item was started. It counts from there, not from when the gate opened: a late start must not let the next
    /// one follow too soon.
    void started(time_point now) noexcept;

private:
    std::chrono::nanoseconds pause_;
    time_point opens_at_ = time_point::min();
};

/// How many items the next batch takes, so that a batch costs a slice of time and all workers end together.
///
/// A slice is half a millisecond, so that results come soon and other calls have their turn. Where nobody waits for either, and
/// much is left, it is longer: each batch, and each time that results are written, takes the program's processor time, too.
///
/// One long item shrinks the next batch at once; a batch grows slowly, and to at most four times a batch that was
/// measured. Guessing too long costs a few round trips, guessing too short leaves a worker alone with all the work.
class batch_size {
public:
    /// `chunk` is options::chunk: so many in every batch; 0 = adapted to the measured cost.
    explicit batch_size(std::size_t chunk = 0) noexcept : chunk_{chunk} {}

    /// Items for the next batch: at least 1, and never more than remain.
    ///
    /// `remaining` are the items that no worker has; empty when nobody knows. `nobody_waits`: results are of use only
    /// together, and no other call has items.
    [[nodiscard]] std::size_t next(
        std::optional<std::size_t> remaining, unsigned workers, bool nobody_waits = false) const noexcept;

    /// For how long the results of such a batch may wait to be written.
    [[nodiscard]] std::chrono::nanoseconds may_wait(
        std::optional<std::size_t> remaining, unsigned workers, bool nobody_waits) const noexcept;

    /// What one item cost in an earlier call of the same function: a guess, that the first measurement replaces.
    void expect(double cost_ns) noexcept;
    /// Nanoseconds; empty when nothing was measured.
    [[nodiscard]] std::optional<double> cost() const noexcept
    {
        return measured_ ? std::optional{cost_ns_} : std::nullopt;
    }

    [[nodiscard]] bool guesses() const noexcept { return known_ && !measured_; }
    /// Whether so many items cost more than any batch should.
    [[nodiscard]] bool is_too_much(std::size_t items) const noexcept;

    /// A worker ran `items` items of one batch in `busy`.
    void measured(std::size_t items, std::chrono::nanoseconds busy) noexcept;

    /// Whether the next batch should wait in the pipe behind the running one: only where a round trip is worth hiding
    /// and the items in the pipe would not wait long for their worker while another is idle, or another call, if there is one.
    [[nodiscard]] bool prefetch(bool alone = false) const noexcept;

private:
    [[nodiscard]] std::size_t worth(double slice_ns) const noexcept;
    [[nodiscard]] double slice_ns(std::optional<std::size_t> remaining, unsigned workers, bool nobody_waits) const noexcept;
    [[nodiscard]] std::size_t unhurried(double slice_ns) const noexcept;

    std::size_t chunk_;
    std::size_t grown_ = 1; // the largest batch that what was measured allows
    bool known_ = false;    // whether a cost was measured, or is expected
    bool measured_ = false;
    double cost_ns_ = 0;    // of one item: jumps up, glides down
    double behind_ = 0;     // items that it was measured by
};

} // namespace cofork::detail
