// Seeing inside: numbers, states, events, the trace and the text for Prometheus.

#include "support/faults.hpp"

#include <cofork/by_bytes.hpp>
#include <cofork/run.hpp>
#include <cofork/stats.hpp>
#include <cofork/trace.hpp>

#include <asio/detached.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <thread>

namespace {

using namespace std::chrono_literals;
using cofork::event;
using cofork::event_kind;
using cofork::failure_kind;

/// A crash is told within it, also by a sanitizer.
constexpr auto short_time = test::forks_are_slow ? 1000ms : 100ms;

int works(int item)
{
    const auto end = std::chrono::steady_clock::now() + 1ms;
    while (std::chrono::steady_clock::now() < end) {
    }
    return item;
}

/// 2 throws, 3 crashes, 4 hangs.
int fails(int item)
{
    if (item == 2)
        throw std::runtime_error{"two"};
    if (item == 3)
        std::abort();
    if (item == 4)
        test::hang();
    return item;
}

/// Copies of events: what they point to is gone.
struct heard {
    std::vector<event> all;
    std::vector<std::string> why;

    void operator()(const event& e)
    {
        all.push_back(e);
        why.push_back(e.why ? e.why->what : "");
        all.back().why = nullptr;
    }
    std::ptrdiff_t count(event_kind kind) const
    {
        return std::ranges::count(all, kind, &event::kind);
    }
};

/// Hands `text` to a Python program; its exit status.
int python_says(const std::string& text, const std::string& program)
{
    char name[] = "/tmp/cofork-test-XXXXXX";
    const int file = ::mkstemp(name);
    REQUIRE(file >= 0);
    REQUIRE(::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    ::close(file);
    const int status = std::system(("PATH=/usr/bin:$PATH python3 -c '" + program + "' " + name).c_str());
    ::unlink(name);
    return WEXITSTATUS(status);
}

} // namespace

TEST_CASE("every item has its start and its finish, measured in its worker", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    heard events;
    cofork::pool pool{context, {.workers = 2, .on_event = std::ref(events)}};
    const auto before = std::chrono::steady_clock::now();
    (void)test::run(context, cofork::parallel(pool, works, test::numbers(20), {.chunk = 4, .name = "first"}));
    (void)test::run(context, cofork::run(pool, works, 7, cofork::options{.name = "second"}));
    std::map<std::pair<std::uint64_t, std::size_t>, std::vector<event>> items;
    std::set<std::string> names;
    for (const event& e : events.all) {
        if (e.kind != event_kind::start && e.kind != event_kind::finish)
            continue;
        items[{e.call, e.index}].push_back(e);
        names.insert(e.name);
    }
    CHECK(names == std::set<std::string>{"first", "second"});
    CHECK(items.size() == 21);
    for (const auto& [which, both] : items) {
        REQUIRE(both.size() == 2);
        CHECK(both[0].kind == event_kind::start);
        const event& end = both[1];
        CHECK(end.attempt == 1);
        CHECK(end.worker == both[0].worker);
        CHECK(end.pid > 0);
        CHECK(end.ran >= 1ms);
        CHECK(end.cpu > 0ms);
        CHECK(end.cpu <= end.ran + 1ms);
        CHECK(end.peak_memory > 100'000);
        CHECK(end.at - end.ran >= before);
        CHECK(end.at <= std::chrono::steady_clock::now());
    }
    CHECK(events.count(event_kind::spawn) >= 1);
    CHECK(events.count(event_kind::spawn) <= 2);
    CHECK(events.count(event_kind::crash) == 0);
}

TEST_CASE("failures, second attempts, crashes and new workers are told", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    heard events;
    (void)test::run(
        context, cofork::try_parallel(
                     fails, test::numbers(6),
                     {.workers = 1, .timeout = short_time, .attempts = 2, .again = cofork::retry_on::crash, .on_event = std::ref(events)}));
    CHECK(events.count(event_kind::start) == 7);
    CHECK(events.count(event_kind::finish) == 6);
    CHECK(events.count(event_kind::retry) == 1);
    CHECK(events.count(event_kind::crash) == 2);
    CHECK(events.count(event_kind::spawn) == 1);
    CHECK(events.count(event_kind::respawn) == 3); // after two crashes and a timeout
    for (std::size_t i = 0; i < events.all.size(); ++i) {
        const event& e = events.all[i];
        if (e.kind == event_kind::crash) {
            CHECK(e.index == 3);
            CHECK(events.why[i].find("SIGABRT") != std::string::npos);
        }
        if (e.kind == event_kind::finish)
            CHECK(events.why[i].empty() == (e.index < 2 || e.index == 5));
        if (e.kind == event_kind::finish && e.index == 4)
            CHECK(e.ran >= short_time);
    }
}

TEST_CASE("the numbers that a listener asks for count what it has been told", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool* pool = nullptr;
    std::uint64_t ends = 0;
    const auto count = [&](const event& e) {
        if (e.kind != event_kind::finish)
            return;
        ++ends;
        CHECK(pool->stats().done == ends);
        CHECK(pool->worker_states().at(0).done == ends);
    };
    cofork::pool its{context, {.workers = 1, .on_event = count}};
    pool = &its;
    const auto throws_fives = [](int i) { return i % 5 == 0 ? throw i : i; };
    const auto all = test::run(context, cofork::try_parallel(its, throws_fives, test::numbers(40), {.chunk = 20}));
    CHECK(all.size() == 40);
    CHECK(ends == 40);
}

TEST_CASE("an idle worker that is killed from outside has crashed in no item", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    heard events;
    cofork::pool pool{context, {.workers = 1, .on_event = std::ref(events)}};
    (void)test::run(context, cofork::run(pool, works, 1));
    const auto workers = test::workers();
    REQUIRE(workers.size() == 1);
    ::kill(workers[0], SIGKILL);
    REQUIRE(test::eventually([&] { return test::is_gone(workers[0]); }));
    (void)test::run(context, cofork::run(pool, works, 1));
    REQUIRE(events.count(event_kind::crash) == 1);
    const event crash = *std::ranges::find(events.all, event_kind::crash, &event::kind);
    CHECK(crash.pid == workers[0]);
    CHECK(crash.attempt == 0);
    CHECK(crash.cpu > 0ms); // its millisecond was the clock's, in which others may have had the processor
    CHECK(pool.stats().crashed == 1);
    CHECK(pool.stats().respawned == 1);
}

TEST_CASE("events come in this process as from workers", "[events]")
{
    asio::io_context context{1};
    heard events;
    (void)test::run(
        context, cofork::parallel(works, test::numbers(3), {.workers = 0, .on_event = std::ref(events)}));
    CHECK(events.count(event_kind::start) == 3);
    CHECK(events.count(event_kind::finish) == 3);
    CHECK(events.all.back().pid == ::getpid());
    CHECK(events.all.back().ran >= 1ms);
    CHECK(events.all.back().cpu > 0ms);
}

TEST_CASE("a pool's numbers add up", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 2}};
    (void)test::run(
        context, cofork::try_parallel(
                     pool, fails, test::numbers(40),
                     {.timeout = 1s, .attempts = 2, .again = cofork::retry_on::crash}));
    const auto s = pool.stats();
    CHECK(s.started == 41);
    CHECK(s.done == 40);
    CHECK(s.retried == 1);
    CHECK(s.failed.sum() == 3);
    CHECK(s.failed[failure_kind::exception] == 1);
    CHECK(s.failed[failure_kind::crashed] == 1);
    CHECK(s.failed[failure_kind::timeout] == 1);
    CHECK(s.crashed == 2);
    CHECK(s.killed == 1);
    CHECK(s.spawned == s.ended + s.workers);
    CHECK(s.respawned >= 1);
    CHECK(s.queued == 0);
    CHECK(s.run.count == 41);
    CHECK(s.run.max >= 90ms);
    CHECK(s.wait.count == 1);
    CHECK(s.sent > 40 * sizeof(int));
    CHECK(s.received > 37 * sizeof(int));
    CHECK(s.cpu > 0ms);
    CHECK(s.peak_memory > 100'000);
}

TEST_CASE("calls behind a busy worker are counted, and so is how long they wait", "[events]")
{
    const test::leaves_nothing nothing;
    constexpr std::size_t behind = 7;
    constexpr auto at_least = 50ms;
    const test::shared<std::atomic<bool>> released;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto busy = cofork::by_bytes([flag = &*released](int item) {
        while (!*flag)
            std::this_thread::sleep_for(1ms);
        return item;
    });
    test::started first{context, cofork::run(pool, busy, 0)};
    REQUIRE(test::run_until(context, [&] {
        const auto states = pool.worker_states();
        return states.size() == 1 && states[0].running > 0ns;
    }));
    CHECK(pool.stats().queued == 0);
    CHECK(pool.stats().wait.count == 1);

    std::vector<std::unique_ptr<test::started<int>>> calls;
    for (std::size_t i = 0; i < behind; ++i)
        calls.push_back(std::make_unique<test::started<int>>(context, cofork::run(pool, works, static_cast<int>(i))));
    REQUIRE(test::run_until(context, [&] { return pool.stats().calls == behind + 1; }));
    CHECK(pool.stats().queued == behind);
    CHECK(pool.stats().wait.count == 1);
    const auto asked = std::chrono::steady_clock::now();
    REQUIRE(test::run_until(context, [&] { return std::chrono::steady_clock::now() - asked >= at_least; }));
    CHECK(pool.stats().queued == behind);
    *released = true;
    CHECK(first.finish() == 0);
    for (std::size_t i = 0; i < behind; ++i)
        CHECK(calls[i]->finish() == static_cast<int>(i));

    const auto s = pool.stats();
    CHECK(s.queued == 0);
    CHECK(s.wait.count == behind + 1);
    CHECK(s.wait.sum >= behind * at_least);
    CHECK(s.wait.p50 >= at_least * 7 / 8); // all but the first
    CHECK(s.wait.p99 >= at_least * 7 / 8);
    CHECK(s.wait.max >= s.wait.p99);
}

TEST_CASE("the time of items is told by its quantiles", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1}};
    const auto sleeps = [](int ms) {
        std::this_thread::sleep_for(std::chrono::milliseconds{ms});
        return ms;
    };
    std::vector<int> items(20, 2);
    items[7] = 100;
    (void)test::run(context, cofork::parallel(pool, sleeps, items));
    const auto run = pool.stats().run;
    CHECK(run.count == 20);
    CHECK(run.sum >= 138ms);
    CHECK(run.p50 >= 2ms * 7 / 8);
    CHECK(run.p50 < 50ms);
    CHECK(run.max >= 100ms * 7 / 8);
    CHECK(run.p50 <= run.p90);
    CHECK(run.p90 <= run.p99);
    CHECK(run.p99 <= run.max);
}

TEST_CASE("a pool tells what each worker does at this moment", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::pool pool{context, {.workers = 1, .min_workers = 1}};
    CHECK(test::run(context, cofork::run(pool, works, 1)) == 1);
    auto states = pool.worker_states();
    REQUIRE(states.size() == 1);
    CHECK(states[0].now == cofork::worker_state::doing::idle);
    CHECK(states[0].pid == test::workers().front());
    CHECK(states[0].done == 1);
    CHECK(states[0].age > 0ns);

    asio::co_spawn(
        context, cofork::try_parallel(pool, fails, std::vector<int>{0, 0, 4, 0}, {.timeout = 2s, .name = "hangs"}), asio::detached);
    const auto end = std::chrono::steady_clock::now() + test::long_enough;
    do {
        context.restart();
        context.run_one_for(10ms);
        states = pool.worker_states();
    } while ((states.size() != 1 || states[0].running < 30ms) && std::chrono::steady_clock::now() < end);
    REQUIRE(states.size() == 1);
    CHECK(states[0].now == cofork::worker_state::doing::busy);
    CHECK(states[0].index == 2);
    CHECK(states[0].attempt == 1);
    CHECK(std::string{states[0].name} == "hangs");
    CHECK(pool.stats().busy == 1);
}

TEST_CASE("a trace is a JSON document with a slice for each item and a row for each worker", "[events]")
{
    const test::leaves_nothing nothing;
    asio::io_context context{1};
    cofork::trace trace;
    {
        cofork::pool pool{context, {.workers = 2, .on_event = std::ref(trace)}};
        (void)test::run(context, cofork::try_parallel(pool, fails, test::numbers(12), {.timeout = short_time, .name = "say \"hi\""}));
    }
    std::ostringstream text;
    trace.write(text);
    CAPTURE(text.str());
    CHECK(python_says(text.str(), R"py(
import json, sys
events = json.load(open(sys.argv[1]))["traceEvents"]
slices = [e for e in events if e["ph"] == "X"]
assert sorted(e["args"]["item"] for e in slices) == list(range(12))
assert all(e["dur"] >= 0 and e["ts"] >= 0 for e in slices)
assert all(e["name"] == "say \"hi\" %d" % e["args"]["item"] for e in slices)
assert sorted(e["args"]["item"] for e in slices if e["cat"] == "failed") == [2, 3, 4]
assert any(e["ph"] == "i" and e["name"] == "crash" for e in events)
rows = {e["tid"] for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
assert {e["tid"] for e in slices} <= rows <= {0, 1}
for row in rows:
    mine = sorted((e["ts"], e["ts"] + e["dur"]) for e in slices if e["tid"] == row)
    assert all(a[1] <= b[0] + 1 for a, b in zip(mine, mine[1:])), mine
)py") == 0);
}

TEST_CASE("a trace keeps the latest events", "[events]")
{
    cofork::trace trace{2};
    for (std::size_t i = 0; i < 5; ++i) {
        event e;
        e.kind = event_kind::finish;
        e.index = i;
        trace(e);
    }
    std::ostringstream text;
    trace.write(text);
    CHECK(text.str().find("item 2") == std::string::npos);
    CHECK(text.str().find("item 3") != std::string::npos);
    CHECK(text.str().find("item 4") != std::string::npos);
}

TEST_CASE("the text for Prometheus is what its own parser reads", "[events]")
{
    if (std::system("PATH=/usr/bin:$PATH python3 -c 'import prometheus_client' 2>/dev/null") != 0)
        SKIP("python3-prometheus-client is not installed");
    cofork::pool_stats s;
    s.started = 7;
    s.failed[failure_kind::crashed] = 3;
    s.run = {10, 2s, 100ms, 200ms, 300ms, 400ms};
    const std::string text = cofork::prometheus(s, "a \"b\" \\ \n c");
    CHECK(python_says(text, R"py(
import sys
from prometheus_client.parser import text_string_to_metric_families as parse
found = {s.name + str(s.labels.get("kind", s.labels.get("quantile", ""))): s for f in parse(open(sys.argv[1]).read()) for s in f.samples}
assert all(s.labels["pool"] == "a \"b\" \\ \n c" for s in found.values())
assert found["cofork_items_started_total"].value == 7
assert found["cofork_items_failed_totalcrashed"].value == 3
assert found["cofork_run_seconds_sum"].value == 2
assert found["cofork_run_seconds0.99"].value == 0.3
)py") == 0);
}
