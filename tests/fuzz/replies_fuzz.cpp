// A worker's stream of bytes, cut in any way: the same replies come out, and memory grows with the bytes that came.

#include "memory_watch.hpp"
#include "reply_script.hpp"

#include "reply_parser.hpp"

#include <algorithm>
#include <memory>
#include <optional>

namespace {

using namespace fuzz;

/// Sizes of reads, one after the other and from the start again.
class cuts {
public:
    explicit cuts(input& from) : sizes_{from.bytes(from.below(8))} {}

    std::size_t next() noexcept
    {
        if (sizes_.empty())
            return std::size_t(-1);
        const std::uint8_t code = sizes_[at_++ % sizes_.size()];
        return code < 128 ? code + 1u : (code - 127u) * 1021u;
    }

private:
    std::span<const std::uint8_t> sizes_;
    std::size_t at_ = 0;
};

class reader {
public:
    reader(const limits& most, std::uint32_t stop, bool in_blocks)
        : most_{most}, stop_{stop}, maker_{in_blocks ? &test::plain_block::make : nullptr}
    {
    }

    void feed(byte_view bytes)
    {
        const std::uint32_t before = got_.count;
        got_.wrong = parser_.feed(
            bytes,
            [this] {
                next_replies next = most_.next(got_.count);
                next.most = std::min(next.most, stop_ - got_.count);
                next.maker = maker_;
                return next;
            },
            [this](const reply_run& run) {
                got_.add(run, most_);
                return got_.count < stop_;
            });
        demand(got_.count >= before, "replies are only added");
        over_ = got_.wrong || got_.count >= stop_;
    }

    /// As an inbox reads: a large rest goes straight into the parser's memory.
    void receive(byte_view bytes)
    {
        while (!bytes.empty() && !over_) {
            const auto rest = parser_.large_rest();
            if (rest.empty())
                return feed(bytes);
            const std::uint64_t unsettled = parser_.position() + from_arena() - got_.bytes;
            demand(rest.size() <= std::max<std::uint64_t>(unsettled, reply_parser::large), "no claim allocates by itself");
            const std::size_t n = std::min(rest.size(), bytes.size());
            std::copy_n(bytes.begin(), n, rest.begin());
            bytes = bytes.subspan(n);
            parser_.got(n);
            feed({});
        }
    }

    bool over() const noexcept { return over_; }
    const taken& got() const noexcept { return got_; }
    std::uint64_t position() const noexcept { return parser_.position(); }
    /// At most so many bytes came by the arena.
    std::size_t from_arena() const noexcept { return arena_.reads * sizeof arena_.bytes; }

    /// Noise is dropped, what came before it is not.
    void restart(const taken& expected)
    {
        parser_.restart();
        demand(parser_.position() == expected.settled, "after a restart the stream goes on behind the last whole reply");
        feed({});
        demand(!got_.wrong, "nothing of the noise is left after a restart");
    }

private:
    const limits& most_;
    std::uint32_t stop_;
    block_maker maker_;
    arena_of_bytes arena_;
    reply_parser parser_{arena_};
    taken got_;
    bool over_ = false;
};

enum class way { whole, copied, in_place, in_blocks, by_bytes };

void read_one_way(way how, byte_view stream, cuts pieces, const limits& most, std::uint32_t stop, const taken& expected)
{
    reader r{most, stop, how == way::in_blocks};
    const memory_watch memory;
    const std::size_t least = how == way::by_bytes ? 1 : 1 + stream.size() / 256; // a long one in small pieces takes too long
    std::size_t fed = 0;
    while (fed < stream.size() && !r.over()) {
        const std::size_t wanted = how == way::whole ? stream.size() : how == way::by_bytes ? 1 : pieces.next();
        const std::size_t n = std::min(std::max(wanted, least), stream.size() - fed);
        // A copy of exactly this size: a sanitizer sees the first byte beyond it.
        const auto piece = std::make_unique<std::byte[]>(n);
        std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(fed), n, piece.get());
        if (how == way::in_place || how == way::in_blocks)
            r.receive({piece.get(), n});
        else
            r.feed({piece.get(), n});
        fed += n;
        demand(memory.most() <= 2 * (fed + r.from_arena()) + reply_parser::large, "memory is bounded by what has come");
    }
    demand(r.got() == expected, "the same bytes give the same replies however they are cut");
    if (!r.over())
        demand(r.position() == stream.size(), "every byte was counted");
    if (r.got().wrong)
        r.restart(expected);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input from{data, size};
    const limits most{from};
    const std::uint32_t stop = from.yes() ? 1 + from.below(8) : ~std::uint32_t{0};
    const cuts pieces{from};
    const byte_buffer stream = make_stream(from);
    const taken expected = read_plainly(stream, most, stop);
    read_one_way(way::whole, stream, pieces, most, stop, expected);
    read_one_way(way::copied, stream, pieces, most, stop, expected);
    read_one_way(way::in_place, stream, pieces, most, stop, expected);
    read_one_way(way::in_blocks, stream, pieces, most, stop, expected);
    if (stream.size() < 512)
        read_one_way(way::by_bytes, stream, pieces, most, stop, expected);
    return 0;
}
