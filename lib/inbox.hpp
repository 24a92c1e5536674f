#pragma once
// The replies of one worker, from its pipe and from its page, each once.

#include "growing_bytes.hpp"
#include "page_view.hpp"
#include "reply_parser.hpp"

#include <cofork/detail/job.hpp>

#include <cstddef>
#include <cstdint>
#include <span>

namespace cofork::detail {

class inbox_user {
public:
    /// What may come now.
    virtual next_replies next() const noexcept = 0;
    /// Returns whether to go on: after false nothing more is read. Those that it takes for answers it counts by pass().
    virtual bool take_replies(const reply_run& run) = 0;

protected:
    ~inbox_user() = default;
};

/// The same replies may be in the page, when the worker has not written them yet, and come by the pipe a moment later. They
/// have to be the same bytes then: else noise in the pipe would pass for them, and hide what follows.
class inbox final : part_source {
public:
    inbox(const page_view& page, inbox_user& user) noexcept : page_{page}, user_{user}, parser_{*this} {}
    inbox(const inbox&) = delete;
    inbox& operator=(const inbox&) = delete;

    /// Where the next bytes of the pipe go. Throws std::bad_alloc.
    std::span<std::byte> space();
    /// So many bytes came into the last space(). Returns what is wrong with them, or null. Noise loses no reply that the
    /// worker had finished before it: what is still in the page is taken from there.
    const char* arrived(std::size_t bytes) noexcept;
    /// Takes whole replies that wait in the page: the worker may run a long item now, or be dead. Returns what is wrong, or
    /// null.
    const char* look_into_page() noexcept;

    /// Items that were answered so far: the sequence of the next reply.
    std::uint32_t answered() const noexcept { return next_; }
    /// So many more items are, or get no reply any more.
    void pass(std::uint32_t n) noexcept { next_ += n; }

    /// Bytes that came by the pipe.
    std::uint64_t position() const noexcept { return pipe_position_; }
    /// A large reply is on its way.
    bool expects_large() noexcept { return parser_.expects_large(); }

private:
    byte_view memory() override;
    void received(std::uint64_t position) noexcept override { page_.received(position); }
    const char* parse(byte_view bytes) noexcept;
    bool came_as_seen(byte_view bytes) noexcept;
    void rescue() noexcept;

    const page_view& page_;
    inbox_user& user_;
    reply_parser parser_;
    std::uint32_t next_ = 0;
    std::uint64_t pipe_position_ = 0; // behind parser_.position() when some came by the page
    byte_buffer early_;          // came by the page, and
    std::size_t confirmed_ = 0;  // how much of that came by the pipe, too
    growing_bytes buffer_; // only what was received takes memory
    std::span<std::byte> target_; // of the pending read, when it goes straight into a large reply
};

} // namespace cofork::detail
