// Items that never end: how soon after their time they do.

#include "support/faults.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <initializer_list>
#include <vector>

#include <signal.h>

namespace {

using namespace std::chrono_literals;
using cofork::failure_kind;
using clock = std::chrono::steady_clock;

struct board {
    std::array<std::atomic<int>, 64> starts;
};
board* now = nullptr;
using shared_board = test::shared_at<now>;

void block(std::initializer_list<int> signals)
{
    sigset_t set;
    ::sigemptyset(&set);
    for (const int signo : signals) {
        ::sigaddset(&set, signo);
        ::signal(signo, SIG_IGN);
    }
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
}

struct way {
    const char* name;
    void (*hang)();
};

constexpr way ways[] = {
    {"spins",
        [] {
            for (;;)
                test::spin_for(1h);
        }},
    {"sleeps", [] { test::hang(); }},
    {"sleeps and ignores signals",
        [] {
            block({SIGTERM, SIGINT, SIGALRM, SIGHUP, SIGQUIT, SIGUSR1});
            test::hang();
        }},
    {"is stopped", [] { ::raise(SIGSTOP); }},
};

/// Item w * 128 + k: the item k, which hangs in the way w - 1; w = 0: it does not.
int hanging(int item)
{
    const auto k = static_cast<std::size_t>(item) % 128;
    ++now->starts[k];
    if (const auto w = static_cast<std::size_t>(item) / 128; w > 0)
        ways[w - 1].hang();
    return 2 * static_cast<int>(k);
}

constexpr int doomed(std::size_t way_index, int item)
{
    return static_cast<int>(way_index + 1) * 128 + item;
}

} // namespace

TEST_CASE("an item that hangs ends by its timeout, and its neighbours succeed once", "[fault][F34][F35][F36]")
{
    const test::leaves_nothing nothing;
    const shared_board shared;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    constexpr auto timeout = 100ms;
    const bool in_pool = GENERATE(true, false);
    CAPTURE(in_pool);
    std::vector<std::chrono::nanoseconds> late;

    for (std::size_t w = 0; w < std::size(ways); ++w) {
        for (const std::size_t at : {std::size_t{0}, std::size_t{31}, std::size_t{63}}) {
            CAPTURE(ways[w].name, at);
            std::vector<int> items = test::numbers(64);
            items[at] = doomed(w, items[at]);
            for (auto& s : now->starts)
                s = 0;

            const cofork::options o{.workers = 1, .timeout = timeout, .chunk = 64};
            const auto begun = clock::now();
            const auto all = in_pool ? test::run(context, cofork::try_parallel(pool, hanging, items, o))
                                     : test::run(context, cofork::try_parallel(hanging, items, o));
            const auto took = clock::now() - begun;

            REQUIRE(all.size() == 64);
            for (std::size_t i = 0; i < all.size(); ++i) {
                CAPTURE(i);
                CHECK(now->starts[i] == 1);
                REQUIRE(all[i].has_value() == (i != at));
                if (all[i])
                    CHECK(*all[i] == 2 * static_cast<int>(i));
            }
            const cofork::failure& why = all[at].error();
            CHECK(why.kind == failure_kind::timeout);
            CHECK(why.index == at);
            CHECK(why.elapsed >= timeout);
            CHECK(test::is_gone(why.pid));
            CHECK(took >= timeout);
            CHECK(took < timeout + 5s);
            late.push_back(why.elapsed - timeout);
        }
    }
    // As a rule: each alone may have waited for a processor.
    const std::size_t middle = (late.size() - 1) / 2;
    std::ranges::nth_element(late, late.begin() + static_cast<std::ptrdiff_t>(middle));
    CHECK(late[middle] <= (test::forks_are_slow ? 500ms : 50ms));
    test::still_works(context, pool);
    test::snapshot_works(context);
    test::runs_dry(context);
}
