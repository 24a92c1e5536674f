#pragma once
// Streams of replies from the fuzzer's bytes, and what a plain reading of them gives.

#include "demand.hpp"
#include "input.hpp"

#include "../support/plain_block.hpp"

#include "frame.hpp"
#include "reply_parser.hpp"

#include <cofork/detail/job.hpp>

#include <array>
#include <bit>

namespace fuzz {

using namespace cofork::detail;

/// options::max_result of the call that the n-th reply is for: each batch may be another call's.
struct limits {
    std::array<std::uint64_t, 4> each;
    std::uint32_t batch;

    explicit limits(input& from)
    {
        // From nothing to more than fits into an address space.
        for (auto& m : each)
            m = (std::uint64_t{1} << from.below(64)) - 1;
        batch = 1 + static_cast<std::uint32_t>(std::popcount(each[0])) % 8; // asks for nothing: older inputs mean the same
    }
    std::uint64_t of(std::uint32_t n) const noexcept { return each[n / batch % each.size()]; }
    /// What a link would say when it has `n` replies.
    next_replies next(std::uint32_t n) const noexcept { return {n, of(n), batch - n % batch}; }
};

/// The replies that were taken from a stream, in few bytes.
struct taken {
    std::uint64_t digest = 0;
    std::uint32_t count = 0;
    std::uint64_t bytes = 0;
    std::uint64_t settled = 0;   ///< of the stream; known to a plain reading only
    const char* wrong = nullptr; ///< what is

    void add(const reply_header& header, byte_view payload, const limits& most)
    {
        demand(header.magic == reply_magic, "a reply has a header");
        demand(header.size == payload.size(), "a reply is as long as its header says");
        demand(header.sequence == count, "replies come in their order");
        demand(header.kind >= reply_kind::value && header.kind <= reply_kind::no_memory, "a reply is of a kind that there is");
        if (header.kind == reply_kind::value)
            demand(payload.size() <= most.of(count), "a value is no longer than max_result");
        else
            demand(payload.size() <= max_report, "a report is no longer than max_report");
        mix(static_cast<std::uint64_t>(header.kind));
        mix(header.size);
        for (; !payload.empty(); payload = payload.subspan(std::min<std::size_t>(payload.size(), 8))) {
            std::uint64_t word = 0;
            std::memcpy(&word, payload.data(), std::min(payload.size(), sizeof word));
            mix(word);
        }
        ++count;
        bytes += sizeof header + header.size;
    }

    void add(const reply_run& run, const limits& most)
    {
        demand(run.count >= 1 && run.count <= most.next(count).most, "no more replies are taken at once than may be");
        if (run.block) {
            demand(run.count == 1 && run.payload().size() == arriving_block::lead, "only what a value begins with is not in its block");
            return add(run.header, test::plain_block::whole(run.payload(), run.block), most);
        }
        for (std::uint32_t i = 0; i < run.count; ++i) {
            const std::byte* const at = run.at + i * run.stride();
            add(load<reply_header>(at), {at + sizeof(reply_header), run.header.size}, most);
        }
    }

    friend bool operator==(const taken& a, const taken& b) noexcept
    {
        return a.digest == b.digest && a.count == b.count && a.bytes == b.bytes && (a.wrong == nullptr) == (b.wrong == nullptr);
    }

private:
    void mix(std::uint64_t value) noexcept { digest = std::rotl((digest ^ value) * 0x9e3779b97f4a7c15, 23); }
};

/// What worker and parser share: bytes that tell where they are.
struct arena_of_bytes final : part_source {
    arena_of_bytes() noexcept
    {
        for (std::size_t i = 0; i < sizeof bytes; ++i)
            bytes[i] = static_cast<std::byte>(i * 7 + 3);
    }
    byte_view memory() override { return bytes; }
    void received(std::uint64_t) noexcept override { ++reads; }

    std::byte bytes[1009];
    std::size_t reads = 0;
};

/// Of a reply in parts, as far as `stream` has it. Returns whether it is all there and nothing is wrong with it.
inline bool read_parts(byte_view& stream, std::uint64_t missing, byte_buffer& payload, bool& lies)
{
    arena_of_bytes arena;
    while (missing > 0) {
        if (stream.size() < sizeof missing)
            return false;
        const auto word = load<std::uint64_t>(stream.data());
        const std::uint64_t size = word & ~is_large;
        const std::size_t words = size == word ? 1 : 2;
        if (stream.size() < words * sizeof word)
            return false;
        lies = size == 0 || size > missing;
        byte_view from = stream.subspan(words * sizeof word);
        if (words == 2) {
            const std::size_t at = load<std::uint64_t>(stream.data() + sizeof word) % sizeof arena.bytes;
            from = byte_view{arena.bytes}.subspan(at);
            lies = lies || size > from.size();
        }
        if (lies || size > from.size())
            return false;
        payload.insert(payload.end(), from.begin(), from.begin() + static_cast<std::ptrdiff_t>(size));
        stream = stream.subspan(words * sizeof word + (words == 2 ? 0 : size));
        missing -= size;
    }
    return true;
}

/// The whole stream at once, as plainly as it can be said. Stops after `stop` replies.
inline taken read_plainly(byte_view stream, const limits& most, std::uint32_t stop)
{
    taken all;
    while (all.count < stop && stream.size() >= sizeof(reply_header)) {
        auto header = load<reply_header>(stream.data());
        all.wrong = wrong_with(header, all.count, most.of(all.count));
        if (all.wrong)
            break;
        byte_view rest = stream.subspan(sizeof header);
        byte_buffer payload;
        bool lies = false;
        if (comes_in_parts(header)) {
            header.size &= ~is_large;
            if (!read_parts(rest, header.size, payload, lies)) {
                if (lies)
                    all.wrong = "a part that lies";
                break;
            }
        }
        else if (rest.size() < header.size)
            break;
        else {
            payload.assign(rest.begin(), rest.begin() + static_cast<std::ptrdiff_t>(header.size));
            rest = rest.subspan(header.size);
        }
        all.add(header, payload, most);
        all.settled += stream.size() - rest.size();
        stream = rest;
    }
    return all;
}

/// Small ones exactly, and some that are larger than any buffer.
inline std::size_t payload_size(std::uint8_t code) noexcept
{
    return code < 240 ? code : (code - 239u) * 5003u;
}

inline void append_reply(byte_buffer& stream, const reply_header& header, std::size_t payload)
{
    const std::size_t at = stream.size();
    stream.resize(at + sizeof header + payload);
    store(stream.data() + at, header);
    for (std::size_t i = 0; i < payload; ++i)
        stream[at + sizeof header + i] = static_cast<std::byte>(i * 31 + header.sequence);
}

/// A well-formed reply: its kind and size are the fuzzer's.
inline void append_reply(byte_buffer& stream, input& from, std::uint32_t sequence)
{
    const auto kind = static_cast<reply_kind>(1 + from.below(5));
    const std::size_t size = kind == reply_kind::ready ? 0 : payload_size(from.byte());
    const std::size_t cut = kind == reply_kind::value ? size : std::min(size, max_report);
    append_reply(stream, {reply_magic, kind, 0, sequence, cut}, cut);
}

/// What a well-formed reply at `at` is, in parts.
inline void put_into_parts(byte_buffer& stream, std::size_t at, input& from)
{
    auto header = load<reply_header>(stream.data() + at);
    const byte_buffer payload(stream.begin() + static_cast<std::ptrdiff_t>(at + sizeof header), stream.end());
    header.size |= is_large;
    store(stream.data() + at, header);
    stream.resize(at + sizeof header);
    const auto say = [&](std::uint64_t word) {
        stream.resize(stream.size() + sizeof word);
        store(stream.data() + stream.size() - sizeof word, word);
    };
    for (std::size_t done = 0; done < payload.size();) {
        const std::size_t left = payload.size() - done;
        const std::size_t size = from.empty() ? left : std::min<std::size_t>(left, 1 + from.below(255) * (1 + left / 1024));
        if (from.yes() && size <= sizeof(arena_of_bytes::bytes)) {
            say(size | is_large);
            say(from.below(16) * sizeof(arena_of_bytes::bytes) + from.number<std::uint16_t>() % (sizeof(arena_of_bytes::bytes) - size + 1));
        }
        else {
            say(size);
            stream.insert(stream.end(), payload.begin() + static_cast<std::ptrdiff_t>(done),
                payload.begin() + static_cast<std::ptrdiff_t>(done + size));
        }
        done += size;
    }
}

/// Replies, headers that lie, and noise; or only what the fuzzer wrote.
inline byte_buffer make_stream(input& from)
{
    constexpr std::size_t most_bytes = std::size_t{1} << 17;
    byte_buffer stream;
    const auto append = [&](std::span<const std::uint8_t> bytes) {
        const auto raw = std::as_bytes(bytes);
        stream.insert(stream.end(), raw.begin(), raw.end());
    };
    if (from.yes()) {
        append(from.rest());
        return stream;
    }
    for (std::uint32_t sequence = 0; !from.empty() && stream.size() < most_bytes; ++sequence) {
        const unsigned what = from.below(16);
        const std::size_t at = stream.size();
        append_reply(stream, from, sequence);
        if (what == 0)
            append(from.bytes(from.below(24)));
        else if (what == 1) // one byte of the header lies
            stream[at + from.below(sizeof(reply_header))] = static_cast<std::byte>(from.byte());
        else if (what == 2) // more is announced than comes, as far as the limit allows
            store(stream.data() + at, reply_header{reply_magic, reply_kind::value, 0, sequence,
                                          std::uint64_t{1} << from.below(64)});
        else if (what >= 4 && what < 7)
            put_into_parts(stream, at, from);
        else if (what == 3)
            stream.resize(at + (stream.size() - at) / 2);
    }
    return stream;
}

} // namespace fuzz
