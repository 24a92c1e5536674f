#pragma once
// What a worker is given to do, out of its job pipe.

#include "crowd.hpp"
#include "frame.hpp"
#include "growing_bytes.hpp"
#include "large_item.hpp"
#include "own_pipe.hpp"
#include "page.hpp"
#include "process.hpp"
#include "reply_stream.hpp"
#include "worker_life.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <unistd.h>

namespace cofork::detail {

/// There is no more to do here: the parent wants this worker to end, or it has had nothing to do, or has grown.
struct time_to_go {};

/// The batches that the parent sent, read in large pieces.
class job_stream {
public:
    /// `large`: null when there is none.
    job_stream(int fd, page& shared, const arena* large, reply_stream& replies, const worker_life& life)
        : fd_{fd}, replies_{replies}, life_{life}, large_{shared, large}
    {
        buffer_.reserve(usual_bytes);
        if (life_.max_growth > 0)
            statm_ = open_statm(); // now: in a sandbox it cannot be opened
    }

    /// The next `size` bytes, valid until the next call. Throws time_to_go, std::bad_alloc.
    byte_view take(std::size_t size)
    {
        if (end_ - begin_ < size)
            fill(size);
        const byte_view taken{buffer_.data() + begin_, size};
        begin_ += size;
        return taken;
    }

    /// Whether it has read, and so may have waited, since it was last asked.
    bool has_waited() noexcept { return std::exchange(waited_, false); }

    /// How many of the next `most` items, each behind its size, have arrived.
    std::uint32_t whole_items(std::uint32_t most) noexcept
    {
        std::size_t at = begin_;
        for (std::uint32_t n = 0; n < most; ++n) {
            if (end_ - at < sizeof(std::uint64_t))
                return n;
            const std::uint64_t size = load<std::uint64_t>(buffer_.data() + at);
            at += sizeof size;
            if (end_ - at < size)
                return n;
            at += size;
        }
        return most;
    }

    /// Reads how long the next item is, for one of the next two. Throws time_to_go.
    void open_item()
    {
        left_ = load<std::uint64_t>(take(sizeof left_).data());
        comes_in_parts_ = (left_ & is_large) != 0;
        left_ &= ~is_large;
    }

    /// All of it, valid until the next call. `maker`: for a large one. Throws time_to_go, std::bad_alloc: then the
    /// rest of it has to be skipped.
    travelled take_item(block_maker maker)
    {
        if (!comes_in_parts_)
            return {take(std::exchange(left_, 0))};
        small_reads_ = 0;
        large_.begin(left_, maker);
        while (next_part()) {
            if (in_pipe_ == 0)
                large_.add(position_, part_);
            else if (large_.is_gathered()) {
                take_into(large_.room(), in_pipe_);
                large_.arrived(std::exchange(in_pipe_, 0));
            }
            else
                take_piecewise();
        }
        return large_.all();
    }

    void skip_item()
    {
        if (!comes_in_parts_)
            return skip(std::exchange(left_, 0));
        skip(std::exchange(in_pipe_, 0));
        while (next_part()) {
            if (in_pipe_ == 0)
                large_.skip(position_, part_);
            else
                skip(std::exchange(in_pipe_, 0));
        }
        large_.done();
    }

    /// It is not needed any more.
    void drop_item() noexcept { large_.done(); }

private:
    /// Its bytes follow, in_pipe_, or are in the arena. Returns false when there are no more.
    bool next_part()
    {
        if (left_ == 0)
            return false;
        const auto word = load<std::uint64_t>(take(sizeof left_).data());
        part_ = word & ~is_large;
        if (word == part_)
            in_pipe_ = part_;
        else
            position_ = load<std::uint64_t>(take(sizeof position_).data());
        left_ -= part_;
        return true;
    }

    void take_into(std::byte* to, std::size_t size)
    {
        const byte_view there = take(std::min(size, end_ - begin_));
        std::copy(there.begin(), there.end(), to);
        if (there.size() < size)
            before_waiting();
        for (std::size_t at = there.size(); at < size;)
            at += read(to + at, std::min(size - at, most_read));
    }

    void take_piecewise()
    {
        while (in_pipe_ > 0) {
            const std::size_t size = std::min(in_pipe_, buffer_.capacity());
            const byte_view some = take(size);
            in_pipe_ -= size; // first: what throws has been read
            large_.add(some);
        }
    }

    void skip(std::size_t size)
    {
        for (; size > buffer_.capacity(); size -= buffer_.capacity())
            take(buffer_.capacity());
        take(size);
    }

    void compact() noexcept
    {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }

    void grow(std::size_t size)
    {
        compact();
        buffer_.reserve(size);
    }

    /// One large item must not be this worker's size for ever; but others often follow, and to touch fresh memory for each
    /// takes longer than to read it.
    void shrink_in_time()
    {
        if (large_.memory() <= large_bytes)
            return;
        const bool is_limited = life_.max_growth > 0 || (life_.rules && life_.rules->wanted.memory > 0); // f may want it all
        if (is_limited || large_.memory() > most_kept || ++small_reads_ >= most_small_reads || is_idle())
            large_.free_memory();
    }

    /// Nothing comes for a while.
    bool is_idle()
    {
        replies_.flush();
        pollfd work{fd_.number(), POLLIN, 0};
        return ::poll(&work, 1, 1000) == 0;
    }

    [[gnu::noinline]] void fill(std::size_t size) // else take() is too large to be part of its callers
    {
        if (size > buffer_.capacity())
            grow(size);
        if (begin_ == end_ && left_ == 0)
            shrink_in_time();
        if (buffer_.capacity() - begin_ < size)
            compact();
        before_waiting();
        while (end_ - begin_ < size)
            end_ += read(buffer_.data() + end_, std::min(buffer_.capacity() - end_, most_read));
    }

    void before_waiting()
    {
        waited_ = true;
        replies_.flush(); // the parent may be waiting for these
        forget_alarms();
    }

    /// At least one byte.
    std::size_t read(std::byte* to, std::size_t most)
    {
        for (;;) {
            fd_.check();
            const std::uint64_t began = life_.spin_ns > 0 ? look_again() : 0;
            stay_or_go();
            const ssize_t got = ::read(fd_.number(), to, most);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                leave();
            if (began != 0)
                last_wait_ns_ = now_ns() - began;
            return static_cast<std::size_t>(got);
        }
    }

    /// The pipe has ended, and all replies are written. Without fini there is nothing to go back for; the first exception of a
    /// process takes longer than its fork.
    [[noreturn]] void leave()
    {
        if (!life_.ender)
            ::_exit(EXIT_SUCCESS);
        throw time_to_go{};
    }

    /// For a while, if it has been worth it: waking a processor that sleeps can take ten times as long as a call. Whoever
    /// else wants this one goes first, and then it is better to sleep. Returns when it began.
    std::uint64_t look_again() noexcept
    {
        const std::uint64_t began = now_ns();
        const auto most = static_cast<std::uint64_t>(life_.spin_ns);
        if (last_wait_ns_ > 10 * most || crowd_.is_there())
            return began;
        int there = 0;
        for (std::uint64_t now = began; now - began < most && !crowd_.is_there();) {
            if (::ioctl(fd_.number(), FIONREAD, &there) != 0 || there > 0)
                break;
            ::sched_yield();
            const std::uint64_t before = std::exchange(now, now_ns());
            crowd_.yielded(now - before);
        }
        return began;
    }

    /// A timer that an item left behind would kill an item that has nothing to do with it, and a signal that it blocked
    /// would not reach the next. Here nobody waits for us, so it costs no item any time.
    static void forget_alarms() noexcept
    {
        const itimerval none{};
        for (const __itimer_which timer : {ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF})
            ::setitimer(timer, &none, nullptr);
        unblock_signals();
    }

    /// What has been sent and not started goes to another worker: nothing is lost by going now.
    void stay_or_go()
    {
        if (life_.max_growth > 0 && begun_) {
            const std::size_t size = resident_bytes(statm_);
            if (first_size_ == 0)
                first_size_ = size;
            else if (size > first_size_ + life_.max_growth)
                throw time_to_go{};
        }
        begun_ = true;
        if (life_.idle_ns <= 0)
            return;
        pollfd work{fd_.number(), POLLIN, 0};
        const timespec patience{life_.idle_ns / 1'000'000'000, life_.idle_ns % 1'000'000'000};
        if (::ppoll(&work, 1, &patience, nullptr) == 0)
            throw time_to_go{};
    }

    static constexpr std::size_t usual_bytes = 64 * 1024;
    static constexpr std::size_t large_bytes = std::size_t{1} << 20;
    static constexpr std::size_t most_read = 256 * 1024; // the parent waits when it writes meanwhile: a pipe has one lock
    static constexpr std::size_t most_kept = std::size_t{32} << 20;
    static constexpr unsigned most_small_reads = 16; // reads; a batch takes one to three

    own_pipe fd_;
    reply_stream& replies_;
    const worker_life& life_;
    owned_fd statm_;
    bool begun_ = false;          // before that there was no item
    std::size_t first_size_ = 0;  // after the first items
    growing_bytes buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool waited_ = false;
    std::uint64_t left_ = 0;      // of the present item: bytes of which nothing is known yet
    bool comes_in_parts_ = false; // it does
    std::uint64_t part_ = 0;      // bytes of its present part
    std::uint64_t in_pipe_ = 0;   // of that one, not read
    std::uint64_t position_ = 0;  // of that one, in the arena
    large_item large_;
    unsigned small_reads_ = 0; // since the last large item
    std::uint64_t last_wait_ns_ = 0; // measured only where it spins
    crowd crowd_;
};

} // namespace cofork::detail
