#pragma once
// A worker's stdout and stderr, when its nursery reads them and has to know of which item each byte is.

#include "owned_fd.hpp"
#include "page.hpp"
#include "reply_stream.hpp"

#include <cofork/detail/job.hpp>

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <span>

#include <sched.h>
#include <stdio_ext.h>
#include <sys/ioctl.h>
#include <time.h>

namespace cofork::detail {

/// Between two items it waits until the nursery has taken what the first one printed. Costs an item two system calls, and
/// the wait when it has printed.
class own_output {
public:
    /// `pipes`: copies of the pipes that stdout and stderr are, and which f does not know; empty when nobody reads them.
    own_output(page& shared, std::span<const int> pipes) noexcept : facts_{shared.printed}, pipes_{pipes}
    {
        if (!pipes_.empty())
            std::setvbuf(stdout, nullptr, _IOLBF, 0); // whole lines come out also before a crash
    }

    /// `call`: of run(); 0 for an item that is known by its index.
    void begin(std::uint64_t index, std::uint64_t call, std::uint32_t sequence) noexcept
    {
        if (pipes_.empty())
            return;
        facts_.index.store(index, std::memory_order_relaxed);
        facts_.call.store(call, std::memory_order_relaxed);
        // Sequentially consistent on both sides: either the nursery sees this, or we see that it is taking.
        facts_.printing.store(sequence + 1, std::memory_order_seq_cst);
        wait_while([this] { return taking(); });
    }

    /// Somebody has to know of which item it is.
    bool is_read() const noexcept { return !pipes_.empty(); }

    /// f has ended.
    void end() noexcept
    {
        if (::__fpending(stdout) > 0)
            std::fflush(stdout); // what f printed, now: _exit will not
        if (pipes_.empty())
            return;
        std::cout.flush(); // the program may have untied it from stdout
        wait_while([this] { return unread() || taking(); });
    }

    /// The end of what the item printed that has just ended.
    byte_view printed() const noexcept
    {
        if (pipes_.empty() || facts_.whose.load(std::memory_order_acquire) != facts_.printing.load(std::memory_order_relaxed))
            return {};
        const std::size_t size = facts_.size.load(std::memory_order_acquire);
        return {reinterpret_cast<const std::byte*>(facts_.end), size < sizeof facts_.end ? size : sizeof facts_.end};
    }

    /// What is printed from now on is of no item.
    void between() noexcept { facts_.printing.store(0, std::memory_order_relaxed); }

private:
    /// Processes that f has left behind may go on printing, and the program's stdout may be blocked: then a line may be
    /// said to be of another item, but this one is not held up for ever.
    static constexpr std::uint64_t patience_ns = 1'000'000'000;

    bool taking() const noexcept { return facts_.taking.load(std::memory_order_seq_cst) != 0; }

    bool unread() const noexcept
    {
        for (const int fd : pipes_) {
            int bytes = 0;
            if (::ioctl(fd, FIONREAD, &bytes) == 0 && bytes > 0)
                return true;
        }
        return false;
    }

    template <typename Condition>
    static void wait_while(Condition holds) noexcept
    {
        for (std::uint64_t since = 0, rounds = 0; holds(); ++rounds) {
            if (rounds < 16) {
                ::sched_yield();
                continue;
            }
            since = since == 0 ? now_ns() : since;
            if (now_ns() - since > patience_ns)
                return;
            const timespec moment{0, 50'000};
            ::nanosleep(&moment, nullptr);
        }
    }

    printed_facts& facts_;
    std::span<const int> pipes_;
};

} // namespace cofork::detail
