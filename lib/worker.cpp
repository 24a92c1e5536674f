#include "worker.hpp"

#include "crash_handler.hpp"
#include "exception_report.hpp"
#include "frame.hpp"
#include "process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <new>
#include <typeinfo>

#include <stdio_ext.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

namespace cofork::detail {

namespace {

/// How long finished results may wait in the page before they are written.
constexpr std::uint64_t slice_ns = 500'000;

std::uint64_t now_ns() noexcept
{
    timespec t;
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(t.tv_nsec);
}

/// An end of a pipe that f must leave alone, and sometimes does not: what goes into another file would be lost without a
/// word, and the parent would wait for it.
class own_pipe {
public:
    explicit own_pipe(int fd) noexcept : fd_{fd}, inode_{inode()} {}

    int number() const noexcept { return fd_; }

    void check() const noexcept
    {
        if (inode() == inode_)
            return;
        note_reason("f has closed or replaced the descriptors of its worker");
        ::_exit(EXIT_FAILURE);
    }

private:
    ino_t inode() const noexcept
    {
        struct stat now {};
        return ::fstat(fd_, &now) == 0 ? now.st_ino : 0;
    }

    int fd_;
    ino_t inode_;
};

/// The replies of one worker, gathered in the shared page and written in slices.
class reply_stream {
public:
    reply_stream(int fd, page& shared) noexcept : fd_{fd}, page_{shared} {}

    void add(reply_kind kind, std::uint32_t sequence, byte_view payload) noexcept
    {
        const reply_header header{reply_magic, kind, 0, sequence, payload.size()};
        const std::size_t whole = sizeof header + payload.size();
        if (whole > sizeof page_.out - held_)
            flush();
        if (whole > sizeof page_.out)
            return write_through(header, payload);
        store(page_.out + held_, header);
        if (!payload.empty())
            std::memcpy(page_.out + held_ + sizeof header, payload.data(), payload.size());
        held_ += whole;
        // Only now do the bytes exist for a parent that looks into the page: whole replies or nothing.
        page_.filled.store(static_cast<std::uint32_t>(held_), std::memory_order_release);
    }

    void flush() noexcept
    {
        last_flush_ = now_ns();
        if (held_ == 0)
            return;
        fd_.check();
        send(page_.out, held_);
        advance(held_);
        held_ = 0;
    }

    void flush_when_due(std::uint64_t now) noexcept
    {
        if (now - last_flush_ >= slice_ns)
            flush();
    }

private:
    void send(const std::byte* from, std::size_t size) noexcept
    {
        if (!write_all(fd_.number(), from, size))
            ::_exit(EXIT_FAILURE); // nobody is left to hear it
    }

    void advance(std::size_t size) noexcept
    {
        // The order lets a reader in the parent notice that it copied bytes that were being replaced: it compares
        // `flushed` before and after. The fence keeps later writes to `out` behind the new value.
        page_.filled.store(0, std::memory_order_release);
        page_.flushed.fetch_add(size, std::memory_order_acq_rel);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    }

    void write_through(const reply_header& header, byte_view payload) noexcept
    {
        std::array<std::byte, sizeof header> bytes;
        store(bytes.data(), header);
        send(bytes.data(), bytes.size());
        send(payload.data(), payload.size());
        advance(sizeof header + payload.size());
    }

    own_pipe fd_;
    page& page_;
    std::size_t held_ = 0;
    std::uint64_t last_flush_ = now_ns();
};

/// The batches that the parent sent, read in large pieces.
class job_stream {
public:
    job_stream(int fd, reply_stream& replies) : fd_{fd}, replies_{replies} { buffer_.resize(64 * 1024); }

    /// The next `size` bytes, valid until the next call. Ends the process when the parent has closed the pipe.
    byte_view take(std::size_t size)
    {
        if (size > buffer_.size())
            grow(size);
        if (end_ - begin_ < size)
            fill(size);
        const byte_view taken{buffer_.data() + begin_, size};
        begin_ += size;
        return taken;
    }

    void skip(std::size_t size)
    {
        for (; size > buffer_.size(); size -= buffer_.size())
            take(buffer_.size());
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
        buffer_.resize(size);
    }

    void fill(std::size_t size) noexcept
    {
        if (buffer_.size() - begin_ < size)
            compact();
        while (end_ - begin_ < size) {
            replies_.flush(); // before every read: it may block, and the parent may be waiting for these
            fd_.check();
            forget_alarms();
            const ssize_t got = ::read(fd_.number(), buffer_.data() + end_, buffer_.size() - end_);
            if (got < 0 && errno == EINTR)
                continue;
            if (got <= 0)
                ::_exit(EXIT_SUCCESS);
            end_ += static_cast<std::size_t>(got);
        }
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

    own_pipe fd_;
    reply_stream& replies_;
    byte_buffer buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

class worker {
public:
    explicit worker(const worker_setup& setup)
        : setup_{setup}, page_{*setup.shared}, replies_{setup.results, page_}, jobs_{setup.jobs, replies_}
    {
        result_.reserve(4096);
    }

    [[noreturn]] void run()
    {
        make_state();
        page_.pid.store(static_cast<std::uint32_t>(::getpid()), std::memory_order_release);
        // Now, before any f has run: later the parent could not believe it.
        replies_.add(reply_kind::ready, 0, {});
        replies_.flush();
        for (;;) {
            batch_ = load<job_header>(jobs_.take(sizeof(job_header)).data());
            if (batch_.magic != job_magic)
                ::_exit(EXIT_FAILURE);
            const byte_view captures = jobs_.take(batch_.captures);
            captures_.assign(captures.begin(), captures.end());
            for (std::uint32_t i = 0; i < batch_.count; ++i)
                next_item(batch_.first + i);
        }
    }

private:
    // UBSan takes the way in which pthread_exit is caught for a null reference.
    __attribute__((no_sanitize("null"))) void make_state()
    {
        if (!setup_.state)
            return;
        try {
            state_ = setup_.state->make();
        }
        catch (abi::__forced_unwind&) {
            ::_exit(EXIT_FAILURE);
        }
        catch (...) {
            replies_.add(reply_kind::unfit, 0, report_.of_current_exception(0));
            replies_.flush();
            ::_exit(EXIT_FAILURE);
        }
    }

    void next_item(std::uint64_t index)
    {
        std::size_t size = 0;
        if (!batch_.by_index)
            size = load<std::uint64_t>(jobs_.take(sizeof(std::uint64_t)).data());
        // Read before the start is published: an item that is still arriving has not started.
        if (!still_ours())
            return jobs_.skip(size);
        const byte_view item = jobs_.take(size);
        std::uint32_t sequence = 0;
        if (claim(sequence))
            run_item(index, item, sequence);
    }

    bool still_ours() const noexcept
    {
        return epoch_of(page_.claim.load(std::memory_order_acquire)) == batch_.epoch;
    }

    bool claim(std::uint32_t& sequence) noexcept
    {
        started_ = now_ns();
        page_.started_at.store(started_, std::memory_order_relaxed);
        std::uint64_t seen = page_.claim.load(std::memory_order_acquire);
        sequence = started_of(seen);
        return epoch_of(seen) == batch_.epoch
            && page_.claim.compare_exchange_strong(seen, make_claim(batch_.epoch, sequence + 1), std::memory_order_acq_rel);
    }

    __attribute__((no_sanitize("null"))) void run_item(std::uint64_t index, byte_view item, std::uint32_t sequence)
    {
        result_.clear();
        reply_kind kind = reply_kind::value;
        byte_view payload;
        try {
            encoder out{result_, batch_.max_result};
            if (batch_.entry != 0)
                reinterpret_cast<entry>(batch_.entry)(state_, captures_, item, out); // NOLINT(performance-no-int-to-ptr)
            else
                setup_.inherited->run(index, item, out);
            payload = result_;
        }
        catch (const encode_too_large&) {
            kind = reply_kind::limit;
            payload = report_.of_current_exception(now_ns() - started_);
        }
        catch (abi::__forced_unwind&) { // pthread_exit in f: there is no item to go on with
            ::_exit(EXIT_FAILURE);
        }
        catch (...) {
            kind = reply_kind::threw;
            payload = report_.of_current_exception(now_ns() - started_);
        }
        finish(kind, sequence, payload);
    }

    void finish(reply_kind kind, std::uint32_t sequence, byte_view payload)
    {
        const std::uint64_t now = now_ns();
        page_.busy.fetch_add(now - started_, std::memory_order_relaxed);
        page_.finished.store(sequence + 1, std::memory_order_release);
        if (::__fpending(stdout) > 0)
            std::fflush(stdout); // what f printed, now: _exit will not
        replies_.add(kind, sequence, payload);
        replies_.flush_when_due(now);
        if (result_.capacity() > large_result)
            byte_buffer{}.swap(result_); // one large result must not be this worker's size for ever
    }

    static constexpr std::size_t large_result = std::size_t{1} << 20;

    const worker_setup& setup_;
    page& page_;
    reply_stream replies_;
    job_stream jobs_;
    job_header batch_{};
    byte_buffer captures_;
    byte_buffer result_;
    exception_report report_;
    void* state_ = nullptr;
    std::uint64_t started_ = 0;
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
