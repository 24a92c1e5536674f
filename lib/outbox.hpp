#pragma once
// What one worker is sent: bytes for its job pipe, one write after the other, and those of large items for its arena.

#include "arena.hpp"
#include "arena_writer.hpp"
#include "job_message.hpp"
#include "page_view.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

namespace cofork::detail {

class outbox {
public:
    /// `page` outlives it.
    explicit outbox(const page_view& page) noexcept : page_{page} {}

    /// Takes all of `message` out of it. Throws std::bad_alloc, and then has taken nothing.
    void add(std::vector<segment>& message);
    bool empty() const noexcept { return unsent_.empty() && !lead_waits_; }

    /// What is to be written now; stays until wrote() is told that it was. Copies as much into the arena as a loop has time for.
    /// Precondition: !empty().
    byte_view next() noexcept;
    void wrote() noexcept;
    /// How often something was.
    std::uint64_t writes() const noexcept { return writes_; }

private:
    void begin_large_item() noexcept;
    void announce_part() noexcept;
    std::size_t part_size() const noexcept;
    void copy(std::span<std::byte> to) noexcept;
    void pop(std::size_t bytes) noexcept;
    void lead(std::uint64_t word) noexcept;

    static constexpr std::size_t most_by_pipe = 64 * 1024; // then the arena has room again, perhaps
    static constexpr std::uint64_t least_at_once = 128 * 1024;

    const page_view& page_;
    std::optional<arena_writer> arena_; // once there is a large item
    std::deque<segment> unsent_;
    std::array<std::byte, 3 * sizeof(std::uint64_t)> lead_; // what a part begins with
    std::size_t led_ = 0;
    bool lead_waits_ = false;         // is being written
    std::uint64_t left_ = 0;          // of the large item that is being sent
    std::size_t by_pipe_ = 0;         // of its present piece: announced, not written
    std::uint64_t writes_ = 0;
};

} // namespace cofork::detail
