#include "inbox.hpp"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace cofork::detail {

namespace {

constexpr std::size_t buffer_bytes = 96 * 1024; // what a pipe holds (pipe(7)), and half of that

/// Between the page and us lies what a pipe holds at most, and the page.
constexpr std::size_t most_early = (std::size_t{1} << 20) + page::bytes;

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
    const char* wrong = nullptr;
    if (target_.empty()) {
        fresh = {buffer_.data(), bytes};
        const std::size_t known = std::min(bytes, early_.size() - confirmed_);
        if (!came_as_seen(fresh.first(known)))
            wrong = "its result pipe brings other bytes than its page held";
        fresh = fresh.subspan(known);
    }
    else {
        parser_.got(bytes);
        target_ = {};
    }
    pipe_position_ += bytes;
    if (!wrong)
        wrong = parse(fresh);
    if (wrong)
        rescue();
    return wrong;
}

bool inbox::came_as_seen(byte_view bytes) noexcept
{
    const bool same = bytes.empty() || std::memcmp(bytes.data(), early_.data() + confirmed_, bytes.size()) == 0;
    confirmed_ += bytes.size();
    if (confirmed_ == early_.size()) {
        early_.clear();
        confirmed_ = 0;
    }
    return same;
}

const char* inbox::look_into_page() noexcept
try {
    // Part of a reply has come by the pipe, and so will the rest: a read may be pending into its memory, which must not go away.
    if (pipe_position_ > parser_.position() || !target_.empty())
        return nullptr;
    const auto replies = page_.unwritten(parser_.position());
    if (replies.empty())
        return nullptr;
    if (early_.size() - confirmed_ > most_early)
        return "its page has answers that its pipe never brings";
    early_.erase(early_.begin(), early_.begin() + static_cast<std::ptrdiff_t>(std::exchange(confirmed_, 0)));
    early_.insert(early_.end(), replies.begin(), replies.end());
    const char* const wrong = parse(replies);
    if (wrong) // noise that came by the pipe may be taken for the begin of a reply
        rescue();
    return wrong;
}
catch (const std::bad_alloc&) {
    // It comes by the pipe; of a worker that is dead the items are lost like any other allocation would be.
    return nullptr;
}

byte_view inbox::memory()
{
    if (const arena* const found = page_.open_arena())
        return found->results;
    if (page_.has_arena())
        throw std::bad_alloc{};
    return {};
}

const char* inbox::parse(byte_view bytes) noexcept
try {
    return parser_.feed(bytes, [this] { return user_.next(); }, [this](const reply_run& run) { return user_.take_replies(run); });
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
