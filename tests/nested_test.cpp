// Calls inside workers: f is a program like any other, down to a depth.

#include "support/faults.hpp"

#include <cofork/error.hpp>
#include <cofork/run.hpp>
#include <cofork/wait.hpp>

#include <array>
#include <system_error>
#include <vector>

namespace {

struct board {
    std::array<std::atomic<pid_t>, 16> pids;
    std::atomic<int> running;
};
board* now = nullptr;

using shared_board = test::shared_at<now>;

/// The sum of 2 * item over `levels` calls in each other: two items on each.
int deep(int levels)
{
    if (levels == 0)
        return 1;
    const std::vector<int> below{levels - 1, levels - 1};
    const auto values = cofork::wait(cofork::parallel(deep, below, {.workers = 2}));
    return values.at(0) + values.at(1);
}

int hangs_below(int levels)
{
    now->pids[static_cast<std::size_t>(now->running++)] = ::getpid();
    if (levels == 0)
        test::hang();
    const std::vector<int> below{levels - 1, levels - 1};
    return cofork::wait(cofork::parallel(hangs_below, below, {.workers = 2})).at(0);
}

/// Those that have said who they are.
std::ptrdiff_t running()
{
    return std::count_if(now->pids.begin(), now->pids.end(), [](const auto& pid) { return pid != 0; });
}

bool all_gone()
{
    return std::all_of(now->pids.begin(), now->pids.end(), [](const auto& pid) { return pid == 0 || test::is_gone(pid); });
}

} // namespace

TEST_CASE("a worker may call in its turn, three deep and no deeper", "[nested][F90]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    CHECK(test::run(context, cofork::run(deep, 2)) == 4);
    const auto too_deep = test::run(context, cofork::try_run(deep, 3));
    REQUIRE_FALSE(too_deep.has_value());
    CHECK_THAT(too_deep.error().what, Catch::Matchers::ContainsSubstring(
        std::error_code{cofork::errc::nested_too_deep}.message()));
    cofork::pool pool{context, {.workers = 2}};
    CHECK(test::run(context, cofork::run(pool, deep, 2)) == 4);
    test::still_works(context, pool);
}

TEST_CASE("when the middle of nested calls is killed, nothing below it is left", "[nested][F90]")
{
    const test::leaves_nothing nothing;
    const test::no_orphans orphans;
    const shared_board shared;
    asio::io_context context{1};
    for (int round = 0; round < 5; ++round) {
        now->running = 0;
        for (auto& pid : now->pids)
            pid = 0;
        test::started call{context, cofork::try_run(hangs_below, 2)};
        REQUIRE(test::run_until(context, [] { return running() == 7; })); // one, two below it, four below these
        ::kill(now->pids[0], SIGKILL);
        const auto outcome = call.finish();
        REQUIRE_FALSE(outcome.has_value());
        CHECK(outcome.error().signal == SIGKILL);
        CHECK(test::eventually([] {
            while (::waitpid(-1, nullptr, WNOHANG) > 0)
                ;
            return all_gone();
        }));
    }
}
