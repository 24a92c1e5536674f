// How much a sandboxed item may take: processor time and memory.

#include "support/faults.hpp"
#include "support/sandbox.hpp"

#include <cofork/policy.hpp>
#include <cofork/run.hpp>

#include <ctime>

namespace {

using namespace std::chrono_literals;
using Catch::Matchers::ContainsSubstring;
using cofork::containment;
using cofork::failure_kind;
using cofork::limited;
using cofork::policy;
using test::computes_for_ever;
using test::require_root_without_sanitizer;
using test::small;

int computes_for_ever_and_hides_it(int item)
{
    ::signal(SIGXCPU, SIG_IGN);
    return computes_for_ever(item);
}

int computes_a_while(int item)
{
    timespec used{};
    for (const auto begin = std::clock(); std::clock() - begin < CLOCKS_PER_SEC / 20;)
        ::clock_gettime(CLOCK_MONOTONIC, &used);
    return item;
}

} // namespace

TEST_CASE("an item may take so much processor time", "[sandbox][F83]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    policy p;
    p.level = containment::limits;
    p.cpu = 100ms;
    p.memory = 0;
    cofork::pool pool{context, {.workers = 2, .sandbox = p}};
    const auto outcome = test::run(context, cofork::try_run(pool, computes_for_ever, 1));
    REQUIRE(!outcome);
    CHECK(outcome.error().kind == failure_kind::limit);
    CHECK(outcome.error().limit == limited::cpu);
    CHECK(outcome.error().signal == SIGXCPU);
    CHECK_THAT(describe(outcome.error()), ContainsSubstring("policy::cpu"));

    // The kernel counts for the whole life of the worker: it leaves before that is anybody's fault.
    const auto many = test::run(context, cofork::try_parallel(pool, computes_a_while, test::numbers(80)));
    for (const auto& each : many)
        CHECK(each);
    CHECK(pool.stats().spawned > 2);
}

TEST_CASE("processor time is limited, whatever an item does about it", "[sandbox][F83]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    policy p;
    p.level = containment::limits;
    p.cpu = 20ms;
    p.memory = 0;
    cofork::pool pool{context, {.workers = 1, .sandbox = p}};
    const auto outcome = test::run(context, cofork::try_run(pool, computes_for_ever_and_hides_it, 1));
    REQUIRE(!outcome);
    CHECK(outcome.error().limit == limited::cpu);
    CHECK(outcome.error().signal == SIGKILL);
}

namespace {

int computes_80_ms(int)
{
    const auto so_far = [] {
        timespec used{};
        ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
        return used.tv_sec * 1'000 + used.tv_nsec / 1'000'000;
    };
    for (const auto end = so_far() + 80; so_far() < end;) {
    }
    return ::getpid();
}

std::atomic<int>* hanging = nullptr; // pid of the worker

int tells_its_pid_and_hangs(int)
{
    *hanging = ::getpid();
    test::hang();
}

} // namespace

// What a worker has used in its life says nothing about its last item.
TEST_CASE("a worker that was killed from outside has not taken too much processor time", "[sandbox]")
{
    const test::leaves_nothing nothing;
    const test::shared<std::atomic<int>> pid;
    policy p;
    p.level = containment::limits;
    p.memory = 0;
    struct row {
        std::chrono::milliseconds cpu;
        int in_init, in_items; // of 80 ms
    };
    for (const row& r : {row{100ms, 0, 4}, row{5ms, 16, 0}}) {
        INFO("policy::cpu of " << r.cpu.count() << " ms");
        p.cpu = r.cpu;
        *(hanging = &*pid) = 0;
        asio::io_context context{1};
        const auto computes = [&] {
            for (int i = 0; i < r.in_init; ++i)
                computes_80_ms(0);
            return 0;
        };
        cofork::pool pool{context, {.workers = 1, .init = computes, .sandbox = p}};
        for (const int by : test::run(context, cofork::parallel(pool, computes_80_ms, test::numbers(r.in_items))))
            CHECK(by == pool.worker_states().at(0).pid);
        test::started<std::vector<cofork::outcome<int>>> call{
            context, cofork::try_parallel(pool, tells_its_pid_and_hangs, test::numbers(1))};
        REQUIRE(test::run_until(context, [&] { return *pid != 0; }));
        REQUIRE(::kill(*pid, SIGKILL) == 0);
        const auto lost = call.finish();
        REQUIRE(!lost[0]);
        CHECK(lost[0].error().kind == failure_kind::crashed);
        CHECK(lost[0].error().signal == SIGKILL);
        CHECK(lost[0].error().limit == limited::none);
    }
}

TEST_CASE("an item that does not fit into the memory of its worker fails alone", "[sandbox][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::limits)}};
    const auto length = [](const std::string& item) { return item.size(); };
    std::vector<std::string> items{"a", std::string(std::size_t{200} << 20, 'x'), "bc"};
    const auto outcomes = test::run(context, cofork::try_parallel(pool, length, items));
    CHECK(*outcomes[0] == 1);
    REQUIRE(!outcomes[1]);
    CHECK(outcomes[1].error().limit == limited::memory);
    CHECK(*outcomes[2] == 2);
}

namespace {

int takes_mib(int count)
{
    const std::vector<char> much(static_cast<std::size_t>(count) << 20, 'x');
    const volatile char* const last = &much.back(); // volatile: else clang leaves it out
    return *last;
}

} // namespace

// A limit that counted what the program had before would leave an item of a large program nothing.
TEST_CASE("memory is counted from what a worker has before its first item", "[sandbox][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    const std::vector<char> ballast(std::size_t{300} << 20, 'x');
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::limits)}};
    CHECK(test::run(context, cofork::run(pool, takes_mib, 64)) == ballast.back());
    const auto outcome = test::run(context, cofork::try_run(pool, takes_mib, 300));
    REQUIRE(!outcome);
    CHECK(outcome.error().limit == limited::memory);
}

// What its worker had needed to read it was kept for the next one, at the cost of what f may have.
TEST_CASE("a large item leaves the next one all of the memory", "[sandbox][F83]")
{
    require_root_without_sanitizer();
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .sandbox = small(containment::limits)}};
    const auto size = [](const std::string& s) { return s.size(); };
    const std::string large(std::size_t{30} << 20, 'x');
    CHECK(test::run(context, cofork::run(pool, size, large)) == large.size());
    CHECK(test::run(context, cofork::run(pool, takes_mib, 110)) == 'x'); // of 128
}
