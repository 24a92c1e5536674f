// One call as its place sees it, without a place.

#include "support/catch.hpp"

#include "call.hpp"

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>

namespace {

using cofork::detail::call;

/// Endless items of one byte, and room for so many results.
struct endless_job final : cofork::detail::job {
    std::size_t space = 0;

    cofork::detail::work* inherited() noexcept override { return nullptr; }
    bool by_index() const noexcept override { return false; }
    std::optional<std::size_t> size() const override { return {}; }
    cofork::detail::pulled pull(cofork::detail::encoded_items& out) override
    {
        out.bytes.push_back(std::byte{1});
        return cofork::detail::pulled::item;
    }
    std::size_t room(std::size_t) override { return space; }
    bool over_when_idle() override { return false; }
    std::uint32_t deliver(std::uint64_t, const cofork::detail::result_run& results) override { return results.count; }
    bool deliver(cofork::failure) override { return true; }
    void finish(std::exception_ptr) noexcept override {}
    void abandon() noexcept override {}
};

} // namespace

TEST_CASE("a call whose results nobody reads wants no worker, until somebody does", "[call]")
{
    const auto now = cofork::detail::clock::now();
    const auto work = std::make_shared<endless_job>();
    work->space = 2;
    call c{work, cofork::options{.chunk = 5}, now};
    CHECK(c.wants(now));
    const auto first = c.take(now, 1);
    REQUIRE(first);
    CHECK(first->count == 2);
    CHECK_FALSE(c.take(now, 1));
    CHECK_FALSE(c.wants(now));
    work->space = 4;
    c.poked();
    CHECK(c.wants(now));
    CHECK(c.take(now, 1)->count == 2);
}

TEST_CASE("what was taken back begins with the right byte, whatever was answered before", "[call]")
{
    const auto now = cofork::detail::clock::now();
    const auto work = std::make_shared<endless_job>();
    work->space = 10;
    call c{work, cofork::options{.chunk = 10}, now};
    auto items = c.take(now, 1);
    REQUIRE(items);
    REQUIRE(items->count == 10);
    constexpr std::size_t each = sizeof(std::uint64_t) + 1;
    CHECK(items->length() == 10 * each);
    items->pass(3);
    CHECK(items->begin() == 3 * each);
    CHECK(items->length() == 7 * each);
    const auto front = items->take_front(2);
    CHECK(front.first == 3);
    CHECK(front.begin() == 3 * each);
    CHECK(front.length() == 2 * each);
    CHECK(items->first == 5);
    CHECK(items->begin() == 5 * each);
    CHECK(items->length() == 5 * each);
    auto last = *items;
    last.pass(4);
    CHECK(last.length() == each);
    std::size_t bytes = 0;
    last.pieces([&](cofork::detail::byte_view piece, const auto&) {
        CHECK(piece.data() == last.encoded->bytes.data() + 9 * each);
        bytes += piece.size();
    });
    CHECK(bytes == each);
}
