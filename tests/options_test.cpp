#include "support/catch.hpp"

#include <cofork/options.hpp>

#include <chrono>
#include <string>
#include <type_traits>
#include <vector>

using cofork::options;
using cofork::retry_on;
using namespace std::chrono_literals;

namespace {

struct listener {
    std::vector<std::size_t> done;
    void update(const cofork::progress_state& state) { done.push_back(state.done); }
};

int calls = 0;
void count(const cofork::failure&)
{
    ++calls;
}

} // namespace

TEST_CASE("options that name nothing are the safe ones", "[options]")
{
    const options o;
    CHECK(o.workers == cofork::all_cpus);
    CHECK(o.pause == 0ns);
    CHECK(o.timeout == 0ns);
    CHECK(o.deadline == 0ns);
    CHECK(o.attempts == 1);
    CHECK(o.delivery == cofork::order::given);
    CHECK_FALSE(o.fresh);
    CHECK_FALSE(o.with_threads);
    CHECK_FALSE(o.progress);
    CHECK_FALSE(o.on_error);
    CHECK(o.max_result == 64u * 1024 * 1024);
}

TEST_CASE("options are written by name, with their units", "[options]")
{
    listener progress;
    std::string log;
    options o{
        .workers = 8,
        .timeout = 2s,
        .again = retry_on::crash | retry_on::timeout,
        .progress = progress,
        .on_error = [&](const cofork::failure& why) { log += why.what; },
    };
    CHECK(o.workers == 8);
    CHECK(o.timeout == 2000ms);

    o.progress.update({.done = 3});
    CHECK(progress.done == std::vector<std::size_t>{3});
    cofork::failure why;
    why.what = "bad";
    o.on_error(why);
    CHECK(log == "bad");
}

TEST_CASE("options are copied with what they refer to, which they do not own", "[options]")
{
    static_assert(std::is_trivially_copyable_v<options>);
    static_assert(std::is_trivially_destructible_v<options>);
    listener progress;
    const options o{.progress = progress, .on_error = count};
    options copy = o;
    copy.progress.update({.done = 1});
    o.progress.update({.done = 2});
    CHECK(progress.done == std::vector<std::size_t>{1, 2});
    calls = 0;
    copy.on_error({});
    CHECK(calls == 1);
}

TEST_CASE("retry_on is a set", "[options]")
{
    CHECK((retry_on::any & retry_on::crash));
    CHECK((retry_on::any & retry_on::timeout));
    CHECK((retry_on::any & retry_on::exception));
    const retry_on some = retry_on::crash | retry_on::exception;
    CHECK((some & retry_on::crash));
    CHECK_FALSE((some & retry_on::timeout));
    CHECK((some & retry_on::exception));
    CHECK((some | retry_on::timeout) == retry_on::any);
}

TEST_CASE("a trivial_fn returns what its callable returns, and takes what it takes", "[options]")
{
    const int base = 40;
    cofork::trivial_fn<int(int, std::string&)> f = [&](int n, std::string& text) {
        text += '!';
        return base + n;
    };
    std::string text = "hi";
    CHECK(f(2, text) == 42);
    CHECK(text == "hi!");
    CHECK(static_cast<bool>(f));
    CHECK_FALSE(static_cast<bool>(cofork::trivial_fn<void()>{}));
}

TEST_CASE("a trivial_fn holds six references", "[options]")
{
    int a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    cofork::trivial_fn<int()> sum = [&] { return a + b + c + d + e + f; };
    f = 60;
    CHECK(sum() == 75);
}

TEST_CASE("anything with an update is a listener, and nothing else is", "[options]")
{
    static_assert(std::is_constructible_v<cofork::progress_ref, listener&>);
    static_assert(!std::is_constructible_v<cofork::progress_ref, int&>);
    static_assert(!std::is_constructible_v<cofork::progress_ref, listener>); // a temporary would not outlive the call
    CHECK_FALSE(static_cast<bool>(cofork::progress_ref{}));
}
