#pragma once
// What a worker is given to do, out of its job pipe.

#include "crowd.hpp"
#include "growing_bytes.hpp"
#include "own_pipe.hpp"
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
    job_stream(int fd, reply_stream& replies, const worker_life& life) : fd_{fd}, replies_{replies}, life_{life}
    {
        buffer_.reserve(usual_bytes);
        if (life_.max_growth > 0)
            statm_ = open_statm(); // now: in a sandbox it cannot be opened
    }

    /// The next `size` bytes, valid until the next call. Throws time_to_go.
    byte_view take(std::size_t size)
    {
        if (size > buffer_.capacity())
            grow(size);
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

    void skip(std::size_t size)
    {
        for (; size > buffer_.capacity(); size -= buffer_.capacity())
            take(buffer_.capacity());
        take(size);
    }

private:
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
    void shrink_in_time(std::size_t size)
    {
        if (buffer_.capacity() <= large_bytes)
            return;
        const bool is_limited = life_.max_growth > 0 || (life_.rules && life_.rules->wanted.memory > 0); // f may want it all
        if (is_limited || buffer_.capacity() > most_kept || ++small_reads_ >= most_small_reads || is_idle())
            shrink(size);
    }

    void shrink(std::size_t size)
    {
        begin_ = end_ = 0;
        buffer_.clear();
        buffer_.reserve(std::max(size, usual_bytes));
    }

    /// Nothing comes for a while.
    bool is_idle()
    {
        replies_.flush();
        pollfd work{fd_.number(), POLLIN, 0};
        return ::poll(&work, 1, 1000) == 0;
    }

    void fill(std::size_t size)
    {
        if (size > large_bytes)
            small_reads_ = 0;
        else if (begin_ == end_)
            shrink_in_time(size);
        if (buffer_.capacity() - begin_ < size)
            compact();
        waited_ = true;
        replies_.flush(); // before what may take time: the parent may be waiting for these
        forget_alarms();
        while (end_ - begin_ < size) {
            fd_.check();
            const std::uint64_t began = life_.spin_ns > 0 ? look_again() : 0;
            stay_or_go();
            const ssize_t got = ::read(fd_.number(), buffer_.data() + end_, std::min(buffer_.capacity() - end_, most_at_once));
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                leave();
            if (began != 0)
                last_wait_ns_ = now_ns() - began;
            end_ += static_cast<std::size_t>(got);
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
    static constexpr std::size_t most_at_once = 256 * 1024; // the parent waits when it writes meanwhile: a pipe has one lock
    static constexpr std::size_t most_kept = std::size_t{32} << 20;
    static constexpr unsigned most_small_reads = 16; // reads; a batch takes one to three

    own_pipe fd_;
    reply_stream& replies_;
    const worker_life& life_;
    owned_fd statm_;
    bool begun_ = false;          // before that there was no item
    std::size_t first_size_ = 0;  // after the first items
    growing_bytes buffer_{true};
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    bool waited_ = false;
    unsigned small_reads_ = 0; // since the last large one
    std::uint64_t last_wait_ns_ = 0; // measured only where it spins
    crowd crowd_;
};

} // namespace cofork::detail
