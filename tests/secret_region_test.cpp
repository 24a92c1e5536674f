// Memory of the program whose content no worker sees.

#include "support/catch.hpp"
#include "support/leaves_nothing.hpp"
#include "support/run.hpp"

#include <cofork/run.hpp>
#include <cofork/secret_region.hpp>

#include <algorithm>
#include <cstddef>

TEST_CASE("workers see zeros where the program keeps a secret", "[sandbox][F84]")
{
    const test::leaves_nothing nothing;
    cofork::secret_region secret{5000};
    std::ranges::fill(secret.bytes(), std::byte{42});
    asio::io_context context{1};
    const auto seen = [&](int) {
        return std::ranges::count(secret.bytes(), std::byte{42}) + 10'000 * std::ranges::count(secret.bytes(), std::byte{0});
    };
    CHECK(test::run(context, cofork::run(seen, 0)) == 10'000 * 5000);
    CHECK(std::ranges::count(secret.bytes(), std::byte{42}) == 5000);
}
