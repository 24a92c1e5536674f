// Items from a generator: how far it is pulled, where it ends, and what happens when it throws.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"
#include "support/work.hpp"

#include <cofork/failure.hpp>
#include <cofork/options.hpp>
#include <cofork/outcome.hpp>
#include <cofork/parallel.hpp>
#include <cofork/pool.hpp>
#include <cofork/stream.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_executor.hpp>
#include <asio/io_context.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <iterator>
#include <optional>
#include <ranges>
#include <stdexcept>

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;

namespace {

/// An input range that counts how often it was advanced, ends after `end`, and throws at `bad`.
class numbers_from_afar {
public:
    struct sentinel {};
    class iterator {
    public:
        using value_type = int;
        using difference_type = std::ptrdiff_t;
        using iterator_concept = std::input_iterator_tag;

        explicit iterator(numbers_from_afar* from) : from_{from} {}
        int operator*() const { return from_->at(); }
        iterator& operator++()
        {
            from_->advance();
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator& i, sentinel) { return i.from_->at() == i.from_->end; }

    private:
        numbers_from_afar* from_;
    };

    iterator begin()
    {
        produced = 1;
        return iterator{this};
    }

    int end = -1;
    int bad = -1;
    int produced = 0; // values that were computed

    int at() const { return at_; }
    void advance()
    {
        ++at_;
        if (at_ == bad)
            throw std::out_of_range{"the source is dry"};
        ++produced;
    }

private:
    int at_ = 0;
};

struct generator_range {
    numbers_from_afar* source;
    auto begin() { return source->begin(); }
    auto end() { return numbers_from_afar::sentinel{}; }
};

} // namespace

TEST_CASE("an endless generator is pulled as far as the window, and no further", "[input][window][F95]")
{
    const test::leaves_nothing guard;
    const std::size_t window = GENERATE(1u, 3u, 16u);
    const bool in_pool = GENERATE(false, true);
    const unsigned workers = GENERATE(0u, 2u);
    asio::io_context context;
    std::optional<cofork::pool> pool;
    if (in_pool)
        pool.emplace(context, cofork::pool_options{.workers = 2});
    numbers_from_afar source;
    const cofork::options o{.workers = workers, .window = window};
    auto results = in_pool ? cofork::stream(*pool, test::twice, generator_range{&source}, o)
                           : cofork::stream(context.get_executor(), test::twice, generator_range{&source}, o);

    // Nobody reads.
    CHECK(test::run_until(context, [&] { return source.produced == static_cast<int>(window); }));
    context.run_for(10ms);
    CHECK(source.produced == static_cast<int>(window));

    for (int taken = 1; taken <= 10; ++taken) {
        bool came = false;
        results.next(asio::bind_executor(context, [&](std::exception_ptr e, std::optional<cofork::indexed<int>> r) {
            came = true;
            REQUIRE_FALSE(e);
            CHECK(r->outcome.value() == 2 * (taken - 1));
        }));
        REQUIRE(test::run_until(context, [&] { return came; }));
        CHECK(source.produced <= taken + static_cast<int>(window));
    }
    results.close();
    context.restart();
    context.poll(); // so that the loop knows
    CHECK(test::run_until(context, [&] { return !pool || pool->stats().calls == 0; }));
    const int at_end = source.produced;
    context.run_for(10ms);
    CHECK(source.produced == at_end);
}

TEST_CASE("a generator is exhausted exactly", "[input]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 1u, 3u);
    numbers_from_afar source;
    source.end = 1000;
    const auto values = test::run(cofork::parallel(test::twice, generator_range{&source}, {.workers = workers}));
    REQUIRE(values.size() == 1000);
    CHECK(values[999] == 1998);
    CHECK(source.produced == 1001); // the last one is the end
}

TEST_CASE("what the range throws ends a parallel with that exception", "[input][fault][F95]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 2u);
    numbers_from_afar source;
    source.bad = 20;
    CHECK_THROWS_AS(
        test::run(cofork::parallel(test::twice, generator_range{&source}, {.workers = workers})), std::out_of_range);
}

TEST_CASE("what the range throws is the failure of its next item elsewhere, and its end", "[input][fault]")
{
    const test::leaves_nothing guard;
    const unsigned workers = GENERATE(0u, 2u);
    {
        numbers_from_afar source;
        source.bad = 20;
        const auto outcomes = test::run(cofork::try_parallel(test::twice, generator_range{&source}, {.workers = workers}));
        REQUIRE(outcomes.size() == 21);
        for (std::size_t i = 0; i < 20; ++i)
            CHECK(outcomes[i].value() == 2 * static_cast<int>(i));
        CHECK(outcomes[20].error().index == 20);
        CHECK(outcomes[20].error().kind == cofork::failure_kind::exception);
        CHECK_THAT(outcomes[20].error().what, ContainsSubstring("the source is dry"));
    }
    {
        auto bad = std::views::iota(0, 5) | std::views::filter([](int i) { return i < 3 ? true : throw 5; });
        const auto outcomes = test::run(cofork::try_parallel(test::twice, bad, {.workers = workers}));
        REQUIRE(outcomes.size() == 4);
        CHECK(outcomes[2].value() == 4);
        CHECK(outcomes[3].error().type == "int");
        CHECK(outcomes[3].error().what == "the range of items threw");
    }
    auto count = [](unsigned n) -> asio::awaitable<int> {
        numbers_from_afar source;
        source.bad = 20;
        auto results = cofork::stream(test::twice, generator_range{&source}, {.workers = n});
        int seen = 0;
        while (auto one = co_await results.next()) {
            CHECK(one->index == static_cast<std::size_t>(seen));
            CHECK(one->outcome.has_value() == (seen < 20));
            ++seen;
        }
        co_return seen;
    };
    CHECK(test::run(count(workers)) == 21);
}
