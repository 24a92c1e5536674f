#include "support/catch.hpp"

#include <cofork/error.hpp>

#include <set>
#include <string>
#include <type_traits>

using cofork::errc;

namespace {

constexpr errc all[] = {
    errc::threads_running, errc::spawn_failed,    errc::nursery_lost,   errc::pool_closed,     errc::deadline,
    errc::boot_failed,     errc::invalid_options, errc::callback_threw, errc::nested_too_deep,
};

/// Words of the remedy that each message has to name.
struct advice {
    errc code;
    const char* names;
};

constexpr advice advised[] = {
    {errc::threads_running, "make a cofork::pool before the threads start"},
    {errc::threads_running, "options::with_threads"},
    {errc::threads_running, "use_future"},
    {errc::threads_running, "resolver"},
    {errc::spawn_failed, "ulimit -n"},
    {errc::spawn_failed, "options::workers"},
    {errc::nursery_lost, "out-of-memory"},
    {errc::pool_closed, "keep it"},
    {errc::deadline, "options::deadline"},
    {errc::boot_failed, "pool_options::init"},
    {errc::invalid_options, "correct"},
    {errc::callback_threw, "options::on_error"},
    {errc::callback_threw, "options::progress"},
    {errc::nested_too_deep, "options::workers = 0"},
};

} // namespace

TEST_CASE("an errc is an error code of the category cofork", "[error]")
{
    static_assert(std::is_error_code_enum_v<errc>);
    const std::error_code code = errc::deadline;
    CHECK(code);
    CHECK(code == errc::deadline);
    CHECK(code != errc::pool_closed);
    CHECK(code.category() == cofork::error_category());
    CHECK(std::string{code.category().name()} == "cofork");
}

TEST_CASE("a message names the remedy", "[error]")
{
    for (const advice& a : advised) {
        const std::string message = make_error_code(a.code).message();
        INFO(message);
        CHECK(message.find(a.names) != std::string::npos);
    }
}

TEST_CASE("every code has a message of its own, in one line", "[error]")
{
    std::set<std::string> messages;
    for (const errc code : all) {
        const std::string message = make_error_code(code).message();
        INFO(message);
        CHECK(message.find('\n') == std::string::npos);
        CHECK(message.find("unknown") == std::string::npos);
        CHECK(messages.insert(message).second);
    }
}

TEST_CASE("a number that is no errc has a message too", "[error]")
{
    CHECK(cofork::error_category().message(0) == "unknown cofork error 0");
    CHECK(cofork::error_category().message(4711) == "unknown cofork error 4711");
}

TEST_CASE("a system_error of the library says what is wrong, and with what", "[error]")
{
    const std::system_error error{errc::invalid_options, "options::pause is negative"};
    const std::string what = error.what();
    CHECK(what.find("options::pause is negative: ") == 0);
    CHECK(what.find("no place can honour") != std::string::npos);
}
