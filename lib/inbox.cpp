#include "inbox.hpp"

#include <algorithm>
#include <new>

namespace cofork::detail {

namespace {

constexpr std::size_t buffer_bytes = 64 * 1024; // what a pipe holds (pipe(7))

} // namespace

std::span<std::byte> inbox::space()
{
    target_ = {};
    try {
        if (pipe_position_ == parser_.position())
            target_ = parser_.large_rest();
    }
    catch (const std::bad_alloc&) { // parse() says so, of what comes into the small buffer
    }
    if (!target_.empty())
        return target_;
    buffer_.reserve(buffer_bytes);
    return {buffer_.data(), buffer_.capacity()};
}

const char* inbox::arrived(std::size_t bytes) noexcept
{
    byte_view fresh;
    if (target_.empty()) {
        const std::size_t known = std::min<std::uint64_t>(bytes, parser_.position() - pipe_position_);
        fresh = byte_view{buffer_.data(), bytes}.subspan(known); // the rest was taken from the page before it came
    }
    else {
        parser_.got(bytes);
        target_ = {};
    }
    pipe_position_ += bytes;
    const char* const wrong = parse(fresh);
    if (wrong)
        rescue();
    return wrong;
}

const char* inbox::look_into_page() noexcept
try {
    if (pipe_position_ > parser_.position())
        return nullptr; // part of a reply has come by the pipe, and so will the rest
    const auto replies = page_.unwritten(parser_.position());
    const char* const wrong = replies.empty() ? nullptr : parse(replies);
    if (wrong) // noise that came by the pipe may be taken for the begin of a reply
        rescue();
    return wrong;
}
catch (const std::bad_alloc&) {
    // It comes by the pipe; of a worker that is dead the items are lost like any other allocation would be.
    return nullptr;
}

const char* inbox::parse(byte_view bytes) noexcept
try {
    return parser_.feed(
        bytes, next_, [this] { return user_.max_result(); },
        [this](const reply_header& header, byte_view payload) { return user_.take_reply(header, payload); });
}
catch (const std::bad_alloc&) {
    return "no memory for its reply";
}

void inbox::rescue() noexcept
try {
    parser_.restart();
    (void)parse(page_.unwritten(parser_.position()));
}
catch (const std::bad_alloc&) { // lost, with what else there is no memory for
}

} // namespace cofork::detail
