// Replies that come by the pipe, and wait in the page, and both: each is taken once, in its order, and those that a worker
// had finished before it died are taken, too. A page that lies costs nobody but its worker.

#include "reply_script.hpp"

#include "inbox.hpp"

#include <algorithm>
#include <memory>

namespace {

using namespace fuzz;

class reader final : public inbox_user {
public:
    reader(const limits& most, const page_view& page) : replies{page, *this}, most_{most} {}

    next_replies next() const noexcept override { return most_.next(got_.count); }
    bool take_replies(const reply_run& run) override
    {
        demand(!refused, "nothing is taken after a refusal");
        got_.add(run, most_);
        replies.pass(run.count);
        return true;
    }
    const taken& got() const noexcept { return got_; }

    bool refused = false;
    inbox replies;

private:
    const limits& most_;
    taken got_;
};

/// One worker, its page and its pipe, and the parent that reads both.
class scene {
public:
    explicit scene(const limits& most) : most_{most} {}

    // The worker, as lib/worker.cpp has it.

    void add_reply(input& from)
    {
        byte_buffer reply;
        append_reply(reply, from, added_);
        if (wrong_with(load<reply_header>(reply.data()), added_, most_.of(added_)))
            return; // an honest worker keeps to its limits
        if (pipe_.size() > most_bytes)
            return;
        ++added_;
        if (held_ + reply.size() > sizeof page_.out)
            write(held_);
        if (reply.size() > sizeof page_.out) {
            pipe_.insert(pipe_.end(), reply.begin(), reply.end());
            page_.flushed += reply.size();
            return;
        }
        std::ranges::copy(reply, page_.out + held_);
        held_ += reply.size();
        page_.filled = static_cast<std::uint32_t>(held_);
    }

    /// Some of what is in the page; the worker may die in the middle of it.
    void write(std::size_t most)
    {
        const std::size_t n = std::min(most, held_ - written_);
        pipe_.insert(pipe_.end(), page_.out + written_, page_.out + written_ + n);
        written_ += n;
        if (written_ < held_)
            return;
        page_.filled = 0;
        page_.flushed += held_;
        held_ = written_ = 0;
    }

    /// A page or a pipe that is not as lib/worker.cpp would have left it.
    void scribble(input& from)
    {
        honest_ = false;
        switch (from.below(5)) {
        case 0: page_.flushed = from.number<std::uint64_t>(); break;
        case 1: page_.flushed += from.below(64) - 32u; break;
        case 2: page_.filled = from.number<std::uint32_t>(); break;
        case 3: page_.filled = from.below(2) * static_cast<std::uint32_t>(sizeof page_.out) + from.below(3) - 1u; break;
        case 4: noise(from); break;
        }
    }

    // The parent.

    void read(std::size_t most)
    {
        const auto space = reader_.replies.space();
        demand(!space.empty(), "there is always room for a read");
        const std::size_t n = std::min({most, pipe_.size() - read_, space.size()});
        if (n == 0 || reader_.refused)
            return;
        std::copy_n(pipe_.begin() + static_cast<std::ptrdiff_t>(read_), n, space.begin());
        read_ += n;
        heard(reader_.replies.arrived(n));
        demand(reader_.replies.position() == read_, "every byte of the pipe was counted");
    }

    void look()
    {
        if (!reader_.refused)
            heard(reader_.replies.look_into_page());
    }

    /// It has died: what is left is read, then its page.
    void end()
    {
        while (!reader_.refused && read_ < pipe_.size())
            read(pipe_.size());
        look();
        demand(reader_.replies.answered() == reader_.got().count, "answers are counted");
        if (honest_) {
            demand(!reader_.refused, "an honest worker is believed");
            demand(reader_.got().count == added_, "what a worker has finished is not lost, and not taken twice");
        }
    }

private:
    static constexpr std::size_t most_bytes = std::size_t{1} << 18; // as much as is worth its time

    void heard(const char* wrong) { reader_.refused = reader_.refused || wrong; }

    void noise(input& from)
    {
        const auto bytes = std::as_bytes(from.bytes(from.below(32)));
        if (from.yes())
            pipe_.insert(pipe_.end(), bytes.begin(), bytes.end());
        else
            std::ranges::copy(bytes, page_.out + std::min<std::size_t>(from.number<std::uint16_t>(), sizeof page_.out - 32));
    }

    const limits& most_;
    std::shared_ptr<shared_pages> pages_ = std::make_shared<shared_pages>(1);
    page_view view_{pages_, 0};
    page& page_ = *pages_->get();
    reader reader_{most_, view_};
    byte_buffer pipe_;
    std::size_t read_ = 0;    // by the parent
    std::size_t held_ = 0;    // in the page
    std::size_t written_ = 0; // of these
    std::uint32_t added_ = 0;
    bool honest_ = true;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input from{data, size};
    const limits most{from};
    scene s{most};
    while (!from.empty()) {
        switch (from.below(8)) {
        case 0:
        case 1: s.add_reply(from); break;
        case 2: s.write(from.byte()); break;
        case 3: s.write(std::size_t(-1)); break;
        case 4: s.read(1u + from.byte()); break;
        case 5: s.read(std::size_t(-1)); break;
        case 6: s.look(); break;
        case 7: s.scribble(from); break;
        }
    }
    s.end();
    return 0;
}
