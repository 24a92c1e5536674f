// Replies that wait in a worker's page and come by its pipe later: each is taken once, and the pipe has to bring the same.

#include "support/catch.hpp"

#include "inbox.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>

namespace {

using namespace cofork::detail;

/// One worker's page and pipe, and the parent that reads both.
struct scene final : inbox_user {
    std::shared_ptr<shared_pages> pages = std::make_shared<shared_pages>(1);
    page_view view{pages, 0};
    page& shared = *pages->get();
    inbox replies{view, *this};
    byte_buffer written; // by the worker, from the page on
    std::uint32_t answers = 0;
    std::uint32_t taken = 0;
    std::uint32_t most = 2; // at once

    next_replies next() const noexcept override { return {replies.answered(), 1 << 20, most}; }
    bool take_replies(const reply_run& run) override
    {
        CHECK(run.count <= most);
        for (std::uint32_t i = 0; i < run.count; ++i)
            CHECK(run.header.sequence + i == taken++);
        replies.pass(run.count);
        return true;
    }

    /// The worker finishes an item, and does not write yet.
    void answer(std::size_t size)
    {
        std::byte* const end = shared.out + shared.filled;
        store(end, reply_header{reply_magic, reply_kind::value, 0, answers++, size});
        std::fill_n(end + sizeof(reply_header), size, static_cast<std::byte>(answers));
        shared.filled += static_cast<std::uint32_t>(sizeof(reply_header) + size);
    }
    /// It writes what it has in its page.
    void flush()
    {
        written.insert(written.end(), shared.out, shared.out + shared.filled);
        const std::uint32_t all = shared.filled.exchange(0);
        shared.flushed += all;
    }
    /// The parent reads so many bytes of that.
    const char* read(std::size_t n)
    {
        const auto space = replies.space();
        n = std::min({n, written.size(), space.size()});
        std::copy_n(written.begin(), n, space.begin());
        written.erase(written.begin(), written.begin() + static_cast<std::ptrdiff_t>(n));
        return replies.arrived(n);
    }
    const char* read_all()
    {
        const char* wrong = nullptr;
        while (!wrong && !written.empty())
            wrong = read(written.size());
        return wrong;
    }
};

std::string said(const char* wrong)
{
    return wrong ? wrong : "";
}

} // namespace

TEST_CASE("what was taken from the page is not taken again when it comes by the pipe, however it is cut", "[inbox]")
{
    for (const std::size_t cut : {1u, 7u, 16u, 100u, 4096u}) {
        CAPTURE(cut);
        scene s;
        for (int round = 0; round < 3; ++round) {
            s.answer(10);
            s.answer(300);
            CHECK(said(s.replies.look_into_page()).empty());
            s.answer(20); // and this one was not looked at
            s.flush();
            while (!s.written.empty())
                REQUIRE(said(s.read(cut)).empty());
            CHECK(s.taken == s.answers);
        }
        CHECK(s.replies.answered() == 9);
    }
}

// It was skipped unlooked at, as long as it was shorter than what had been taken from the page.
TEST_CASE("other bytes than those that were taken from the page are noticed at the first of them", "[inbox][F66]")
{
    scene s;
    s.answer(300);
    CHECK(said(s.replies.look_into_page()).empty());
    CHECK(s.taken == 1);
    s.written.assign(1, std::byte{0xff}); // noise
    CHECK(said(s.read_all()).find("other bytes") != std::string::npos);
}

TEST_CASE("a byte that changes on its way from the page to the pipe is noticed", "[inbox][F66]")
{
    scene s;
    s.answer(300);
    CHECK(said(s.replies.look_into_page()).empty());
    s.flush();
    s.written.back() ^= std::byte{1};
    CHECK(said(s.read_all()).find("other bytes") != std::string::npos);
    CHECK(s.taken == 1);
}

TEST_CASE("a page whose answers never come by the pipe is believed no longer than a pipe is", "[inbox][F69]")
{
    scene s;
    const char* wrong = nullptr;
    std::size_t said_by_page = 0;
    while (!wrong && said_by_page < std::size_t{64} << 20) {
        s.answer(10'000);
        wrong = s.replies.look_into_page();
        s.shared.flushed += s.shared.filled.exchange(0); // it lies: nothing was written
        said_by_page += 10'000;
    }
    CHECK(said(wrong).find("never brings") != std::string::npos);
    CHECK(said_by_page < std::size_t{2} << 20);
}

// The header by the pipe, the rest by the page: what the kernel was to write to was freed.
TEST_CASE("a reply that is being read into its memory is not completed from the page", "[inbox][F66]")
{
    for (const std::size_t size : {70'000u, 1'000'000u}) {
        CAPTURE(size);
        scene s;
        const reply_header header{reply_magic, reply_kind::value, 0, 0, size};
        std::memcpy(s.replies.space().data(), &header, sizeof header);
        REQUIRE(s.replies.arrived(sizeof header) == nullptr);
        const auto pending = s.replies.space();
        s.shared.flushed = sizeof header;
        s.shared.filled = 50'000;
        for (std::size_t from_page = 0; from_page < size; from_page += 50'000) {
            CHECK(s.replies.look_into_page() == nullptr);
            s.shared.flushed += 50'000;
        }
        CHECK(s.taken == 0);
        std::ranges::fill(pending, std::byte{1}); // by the kernel
        CHECK(s.replies.arrived(pending.size()) == nullptr);
        CHECK(s.replies.position() == sizeof header + pending.size());
    }
}
