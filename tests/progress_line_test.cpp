#include "support/catch.hpp"

#include "progress_line.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <string>

using cofork::progress_state;
using cofork::detail::progress_line;
using cofork::detail::progress_log_line;
using cofork::detail::progress_rate;
using namespace std::chrono_literals;

namespace {

bool near(const progress_rate& rate, double expected)
{
    return std::abs(rate.per_second().value() - expected) < expected / 100;
}

} // namespace

TEST_CASE("a line says how far, how well, how fast, how long yet and how busy", "[progress]")
{
    const progress_state state{.done = 123, .failed = 2, .total = 767, .busy = 8, .elapsed = 3s};
    CHECK(progress_line("parse", state, 45.0, 80)
          == "parse  123/767 [####------------------------] 16% 2 failed 45/s ETA 0:15 busy 8");
    CHECK(progress_log_line("parse", state, 45.0) == "parse  123/767 16% 2 failed 45/s ETA 0:15 busy 8");
    CHECK(progress_log_line("", state, 45.0) == "123/767 16% 2 failed 45/s ETA 0:15 busy 8");
}

TEST_CASE("a line leaves out what is not so or not known", "[progress]")
{
    CHECK(progress_log_line("", {.done = 0, .total = 10, .busy = 1}, {}) == "0/10 0% busy 1");
    CHECK(progress_log_line("", {.done = 5, .total = 0, .busy = 1}, 2.0) == "5 done 2.0/s busy 1");
    CHECK(progress_line("", {.done = 5, .total = 0, .busy = 1}, 2.0, 80) == "5 done 2.0/s busy 1");
    CHECK(progress_log_line("", {.done = 10, .total = 10}, 2.0) == "10/10 100% 2.0/s busy 0");
}

TEST_CASE("the last line tells the time that it took, and the rate over all of it", "[progress]")
{
    const progress_state state{.done = 10, .failed = 1, .total = 10, .elapsed = 4s, .finished = true};
    CHECK(progress_log_line("", state, 99.0) == "10/10 100% 1 failed 2.5/s in 4.0 s");
    const progress_state again{.done = 10, .failed = 1, .retried = 3, .total = 10, .elapsed = 4s, .finished = true};
    CHECK(progress_log_line("", again, 99.0) == "10/10 100% 1 failed 3 retried 2.5/s in 4.0 s");
    CHECK(progress_log_line("", {.finished = true}, {}) == "0 done in 0.0 s");
    CHECK(progress_log_line("", {.done = 3, .elapsed = 75400ms, .finished = true}, {}).ends_with(" in 1:15"));
}

TEST_CASE("a hundred percent means all", "[progress]")
{
    CHECK(progress_log_line("", {.done = 999, .total = 1000}, {}) == "999/1000 99% busy 0");
    CHECK(progress_log_line("", {.done = 1200, .total = 1000}, 1.0) == "1200/1000 100% 1.0/s busy 0");
    CHECK(progress_line("", {.done = 1200, .total = 1000}, {}, 80).find("[########################################]")
          != std::string::npos);
}

TEST_CASE("a rate and a time have the unit that suits them", "[progress]")
{
    const auto said = [](double rate, std::size_t left) {
        return progress_log_line("", {.done = 0, .total = left}, rate);
    };
    CHECK(said(2.5e6, 1) == "0/1 0% 2.5M/s ETA 0:01 busy 0");
    CHECK(said(1500, 1) == "0/1 0% 1.5k/s ETA 0:01 busy 0");
    CHECK(said(9.96, 1) == "0/1 0% 10/s ETA 0:01 busy 0");
    CHECK(said(4, 500) == "0/500 0% 4.0/s ETA 2:05 busy 0");
    CHECK(said(0.5, 1) == "0/1 0% 30/min ETA 0:02 busy 0");
    CHECK(said(0.001, 10) == "0/10 0% 4/h ETA 2:46:40 busy 0");
    CHECK(said(1e-9, 10) == "0/10 0% 0/h ETA >99 h busy 0");
    CHECK(said(1e300, 10) == "0/10 0% 1000000.0M/s ETA 0:01 busy 0");
}

TEST_CASE("a line never fills the width of the terminal", "[progress]")
{
    const progress_state state{.done = 123, .failed = 2, .total = 767, .busy = 8, .elapsed = 3s};
    const std::string whole = "parse  123/767 16% 2 failed 45/s ETA 0:15 busy 8";
    for (std::size_t columns = 0; columns < 200; ++columns) {
        const std::string line = progress_line("parse", state, 45.0, columns);
        INFO(columns << ": " << line);
        CHECK(line.size() <= (columns == 0 ? 0 : columns - 1));
        if (columns <= whole.size())
            CHECK(line == whole.substr(0, line.size())); // the bar goes first
    }
    CHECK(progress_line("parse", state, 45.0, 500).size() == whole.size() + 43);
}

TEST_CASE("a character outside of ASCII counts as two columns and is not cut in half", "[progress]")
{
    const std::string wide = "\xe5\xad\x97"; // one character of two columns
    CHECK(progress_line(wide + wide, {}, {}, 4) == wide);
    CHECK(progress_line(wide + wide, {}, {}, 5) == wide + wide);
    CHECK(progress_line(wide + wide, {}, {}, 3) == wide);
    CHECK(progress_line(wide + wide, {}, {}, 2) == "");
}

TEST_CASE("the rate is that of the last seconds", "[progress]")
{
    progress_rate rate;
    rate.note({.done = 0, .elapsed = 0s});
    CHECK_FALSE(rate.per_second());
    std::size_t done = 0;
    auto elapsed = 0ms;
    const auto run = [&](std::chrono::milliseconds time, std::size_t per_tick) {
        for (const auto end = elapsed + time; elapsed < end;) {
            elapsed += 100ms;
            done += per_tick;
            rate.note({.done = done, .elapsed = elapsed});
        }
    };
    run(60s, 10);
    CHECK(near(rate, 100));
    run(1s, 100);
    CHECK(rate.per_second().value() > 150);
    CHECK(rate.per_second().value() < 500);
    run(6s, 100);
    CHECK(near(rate, 1000));
    run(5s, 0);
    CHECK(rate.per_second().value() < 600); // it sinks while nothing completes
}

TEST_CASE("items that take long have a steady rate", "[progress]")
{
    progress_rate rate;
    double least = 1;
    double most = 0;
    for (int tick = 0; tick <= 100 * 600; ++tick) { // one item every ten seconds, a state every tenth of a second
        rate.note({.done = static_cast<std::size_t>(tick / 100), .elapsed = tick * 100ms});
        if (tick > 100 * 5) {
            least = std::min(least, rate.per_second().value());
            most = std::max(most, rate.per_second().value());
        }
    }
    CHECK(least > 0.08);
    CHECK(most < 0.12);
}
