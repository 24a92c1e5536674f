#pragma once
// A worker that does what lib/worker.cpp does, one step at a time, and lies only when it is told to.

#include "../input.hpp"
#include "machine.hpp"

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <cstdint>
#include <memory>
#include <vector>

namespace fuzz {

/// What f does with the next item.
enum class fate : std::uint8_t { value, threw, limit, undecodable, large };

/// The encoded result of an item: says whose it is.
struct fake_result {
    std::uint64_t call;
    std::uint64_t index;
    std::uint64_t mark;
};
inline constexpr std::uint64_t honest_mark = 0x74736e6f686f6f67;

class fake_worker {
public:
    fake_worker(std::shared_ptr<shared_pages> pages, const nursery_request& asked, int pid, owned_fd jobs, owned_fd results);

    bool is(std::uint32_t slot, std::uint64_t generation) const noexcept
    {
        return slot == slot_ && generation == generation_;
    }
    std::uint32_t slot() const noexcept { return slot_; }
    std::uint64_t generation() const noexcept { return generation_; }
    int pid() const noexcept { return pid_; }
    int code() const noexcept { return code_; }
    int status() const noexcept { return status_; }
    bool dead() const noexcept { return dead_; }

    /// Does the next thing that can be done at this moment; false when there is none.
    bool step();
    /// Part of what is to be written goes out.
    bool write(std::size_t most);
    /// No further than this; the page stays as it is.
    void die(int code, int status);
    void tell_where_it_is();
    void lie(input& from);

    bool stopped = false; ///< SIGSTOP
    bool unfit = false;   ///< pool_options::init throws
    fate next = fate::value;
    std::chrono::nanoseconds duration{0}; ///< of the items that it starts

private:
    bool begin();
    bool next_item();
    bool fill(std::size_t size);
    bool claim();
    std::uint32_t more_at_once() const;
    void finish_item();
    void add(reply_kind kind, std::uint32_t sequence, byte_view payload);
    void flush();
    void flushed();
    byte_view rest() const noexcept { return byte_view{in_}.subspan(in_at_); }
    fake_call* owner() const;

    std::shared_ptr<shared_pages> pages_;
    page& page_;
    std::uint32_t slot_;
    std::uint64_t generation_;
    int pid_;
    owned_fd jobs_;
    owned_fd results_;
    bool dead_ = false;
    bool honest_ = true;
    int code_ = 0;
    int status_ = 0;

    bool ready_ = false;
    byte_buffer in_; // read and not consumed from in_at_ on
    std::size_t in_at_ = 0;
    bool no_more_ = false; // the job pipe is closed
    job_header batch_{};
    std::uint8_t call_ = 0;
    std::uint32_t left_ = 0; // of the batch
    bool running_ = false;
    std::uint64_t index_ = 0;
    std::uint32_t sequence_ = 0;
    std::uint32_t claimed_ = 0; // behind it
    std::chrono::steady_clock::time_point started_{};
    fate fate_ = fate::value;

    std::size_t held_ = 0;      // in the page
    byte_buffer out_;           // being written: the page's bytes, or a reply that is too large for it
    std::size_t out_at_ = 0;
    bool out_of_page_ = false;
    std::vector<std::uint64_t> through_; // the item whose reply is written without the page
    std::chrono::steady_clock::time_point last_flush_{};
};

} // namespace fuzz
