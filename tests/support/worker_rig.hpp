#pragma once
// A worker's loop alone, with real pipes, and the ends that a parent would hold.

#include "worker.hpp" // first: it refuses to come after Asio

#include "faults.hpp"
#include "plain_block.hpp"

#include "arena.hpp"
#include "frame.hpp"
#include "process.hpp"
#include "reply_parser.hpp"

#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace test {

using namespace cofork::detail;

/// A worker, and the ends that a parent would hold.
class rig {
public:
    explicit rig(state_maker* state = nullptr)
    {
        jobs_ = make_pipe();
        results_ = make_pipe();
        worker_.emplace([&] {
            jobs_.write.reset();
            results_.read.reset();
            worker_main({jobs_.read.get(), results_.write.get(), &*page_, &*arena_, {nullptr, state}, {}});
        });
        jobs_.read.reset();
        results_.write.reset();
        if (!state)
            REQUIRE(receive().header.kind == reply_kind::ready);
    }

    cofork::detail::page& page() { return *page_; }
    helper_process& process() { return *worker_; }

    void send(const job_header& header, const std::vector<byte_buffer>& items, byte_view captures = {})
    {
        byte_buffer bytes(sizeof header);
        store(bytes.data(), header);
        bytes.insert(bytes.end(), captures.begin(), captures.end());
        for (const byte_buffer& item : items) {
            const std::size_t at = bytes.size();
            bytes.resize(at + sizeof(std::uint64_t));
            store<std::uint64_t>(bytes.data() + at, item.size());
            bytes.insert(bytes.end(), item.begin(), item.end());
        }
        REQUIRE(write_all(jobs_.write.get(), bytes.data(), bytes.size()));
    }

    struct reply {
        reply_header header;
        byte_buffer payload;
    };
    reply receive()
    {
        reply r{};
        byte_buffer header(sizeof(reply_header));
        REQUIRE(read_all(results_.read.get(), header.data(), header.size()));
        r.header = load<reply_header>(header.data());
        REQUIRE(wrong_with(r.header, r.header.sequence, 1 << 20) == nullptr);
        r.payload.resize(r.header.size);
        REQUIRE(read_all(results_.read.get(), r.payload.data(), r.payload.size()));
        return r;
    }
    cofork::detail::arena& arena() { return *arena_; }
    void send(byte_view bytes) { REQUIRE(write_all(jobs_.write.get(), bytes.data(), bytes.size())); }
    /// Replies as a parent would read them, until there are so many.
    std::vector<byte_buffer> receive_all(std::size_t count)
    {
        struct results final : part_source {
            explicit results(rig& owner) : owner_{owner} {}
            byte_view memory() override { return owner_.arena().results; }
            void received(std::uint64_t position) noexcept override { owner_.page().received = position; }
            rig& owner_;
        } source{*this};
        reply_parser parser{source};
        std::vector<byte_buffer> all;
        byte_buffer buffer(16 * 1024);
        while (all.size() < count) {
            const ssize_t got = ::read(results_.read.get(), buffer.data(), buffer.size());
            REQUIRE(got > 0);
            const char* const wrong = parser.feed(
                byte_view{buffer}.first(static_cast<std::size_t>(got)),
                [&] { return next_replies{answered_, std::uint64_t{1} << 30, 1}; },
                [&](const reply_run& run) {
                    all.emplace_back(run.payload().begin(), run.payload().end());
                    ++answered_;
                    return true;
                });
            REQUIRE(wrong == nullptr);
        }
        return all;
    }
    bool ended()
    {
        std::byte b;
        return !read_all(results_.read.get(), &b, 1);
    }
    void hang_up() { jobs_.write.reset(); }

private:
    shared<cofork::detail::page> page_;
    shared<cofork::detail::arena> arena_;
    std::uint32_t answered_ = 0; // by receive_all()
    pipe_ends jobs_, results_;
    std::optional<helper_process> worker_;
};

/// Gives the item back, with the captures in front; throws where the item begins with '!', and runs out of its limit
/// where it begins with '+'.
inline void echo(void*, byte_view captures, const travelled& from, cofork::encoder& result)
{
    const byte_view item = from.bytes;
    const char first = item.empty() ? '\0' : static_cast<char>(item[0]);
    if (first == '!')
        throw std::runtime_error{"as asked"};
    if (first == '+')
        result.bytes(std::string(1000, '+').data(), 1000);
    result.bytes(captures.data(), captures.size());
    result.bytes(item.data(), item.size());
}

inline constexpr entry echo_code{&echo, nullptr};

/// The same, for items of which the large ones come as a block behind their first bytes.
inline void echo_block(void* state, byte_view captures, const travelled& from, cofork::encoder& result)
{
    if (!from.block) {
        if (from.bytes.size() >= least_large)
            throw std::runtime_error{"in one piece"};
        return echo(state, captures, from, result);
    }
    const byte_buffer whole = plain_block::whole(from.bytes, from.block);
    result.bytes(whole.data(), whole.size());
}

inline constexpr entry block_code{&echo_block, &plain_block::make};

inline byte_buffer bytes_of(std::string_view text)
{
    const auto* const from = reinterpret_cast<const std::byte*>(text.data());
    return {from, from + text.size()};
}

inline job_header header_for(std::uint32_t count, std::uint32_t epoch = 0)
{
    return {job_magic, epoch, count, 0, 0, 0, 0, reinterpret_cast<std::uint64_t>(&echo_code), 0, 500'000, 500, 0};
}

} // namespace test
