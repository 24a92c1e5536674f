#include "support/catch.hpp"

#include <cofork/outcome.hpp>

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

using cofork::failure;
using cofork::outcome;

namespace {

struct no_default {
    explicit no_default(int v) : value{v} {}
    int value;
};

const failure crash = [] {
    failure why;
    why.kind = cofork::failure_kind::crashed;
    why.index = 5;
    why.signal = 11;
    return why;
}();

} // namespace

TEST_CASE("an outcome made from a value has it", "[outcome]")
{
    outcome<std::string> o = std::string{"page"};
    CHECK(o.has_value());
    CHECK(static_cast<bool>(o));
    CHECK(o.value() == "page");
    CHECK(*o == "page");
    CHECK(o->size() == 4);

    o.value() += 's';
    CHECK(std::as_const(o).value() == "pages");
    CHECK(*std::as_const(o) == "pages");
    CHECK(std::as_const(o)->size() == 5);
}

TEST_CASE("an outcome made from a failure tells it", "[outcome]")
{
    const outcome<int> o = crash;
    CHECK_FALSE(o.has_value());
    CHECK_FALSE(static_cast<bool>(o));
    CHECK(o.error() == crash);
}

TEST_CASE("asking for the value of a failure throws it as an item_error", "[outcome]")
{
    const auto thrown_by = [](auto ask) -> failure {
        try {
            ask();
        } catch (const cofork::item_error& error) {
            CHECK(std::string{error.what()} == cofork::describe(crash));
            return error.why();
        }
        return {};
    };
    outcome<int> o = crash;
    CHECK(thrown_by([&] { (void)o.value(); }) == crash);
    CHECK(thrown_by([&] { (void)std::as_const(o).value(); }) == crash);
    CHECK(thrown_by([&] { (void)outcome<int>{crash}.value(); }) == crash);
    CHECK(thrown_by([&] { outcome<void>{crash}.value(); }) == crash);
    CHECK(o.error() == crash); // not moved away
}

TEST_CASE("a value that can only be moved comes out of an outcome", "[outcome]")
{
    outcome<std::unique_ptr<int>> o = std::make_unique<int>(3);
    static_assert(!std::is_copy_constructible_v<std::unique_ptr<int>>);
    const std::unique_ptr<int> value = std::move(o).value();
    CHECK(*value == 3);

    outcome<std::unique_ptr<int>> other = std::make_unique<int>(4);
    const std::unique_ptr<int> moved = *std::move(other);
    CHECK(*moved == 4);
}

TEST_CASE("a value needs no default constructor", "[outcome]")
{
    std::vector<outcome<no_default>> all;
    all.emplace_back(no_default{7});
    all.emplace_back(crash);
    CHECK(all[0]->value == 7);
    CHECK(all[1].error() == crash);
}

TEST_CASE("an outcome of nothing succeeds or has a failure", "[outcome]")
{
    const outcome<void> fine;
    CHECK(fine.has_value());
    CHECK_NOTHROW(fine.value());
    *fine;

    const outcome<void> bad = crash;
    CHECK_FALSE(static_cast<bool>(bad));
    CHECK(bad.error() == crash);
}

TEST_CASE("an indexed outcome can be taken apart", "[outcome]")
{
    const cofork::indexed<int> result{12, outcome<int>{3}};
    const auto& [index, o] = result;
    CHECK(index == 12);
    CHECK(*o == 3);
}
