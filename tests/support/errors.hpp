#pragma once
// What a call threw: the failure of its item, or an error code. A call that threw none fails the test.

#include "catch.hpp"
#include "run.hpp"

#include <cofork/failure.hpp>

#include <asio/io_context.hpp>

#include <exception>
#include <system_error>
#include <utility>

namespace test {

/// The failure that a call ended with.
template <typename Call>
cofork::failure failure_of(Call call)
{
    try {
        run(std::move(call));
    }
    catch (const cofork::item_error& e) {
        return e.why();
    }
    FAIL("no item_error");
    return {};
}

template <typename Call>
std::error_code error_of(asio::io_context& context, Call call)
{
    try {
        run(context, std::move(call));
    }
    catch (const std::system_error& e) {
        UNSCOPED_INFO(e.what());
        return e.code();
    }
    FAIL("no std::system_error");
    return {};
}

/// The same on a context of its own.
template <typename Call>
std::error_code error_of(Call call)
{
    asio::io_context context{1};
    return error_of(context, std::move(call));
}

/// Of what a handler was given.
inline std::error_code code_of(const std::exception_ptr& error)
{
    REQUIRE(error);
    try {
        std::rethrow_exception(error);
    }
    catch (const std::system_error& e) {
        return e.code();
    }
    catch (...) {
        FAIL("not a std::system_error");
    }
    return {};
}

} // namespace test
