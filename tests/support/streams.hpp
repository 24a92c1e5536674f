#pragma once
// What tests ask of a stream: all that is left in it, or one next() whose answer they keep.

#include <cofork/outcome.hpp>
#include <cofork/stream.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_executor.hpp>
#include <asio/io_context.hpp>

#include <exception>
#include <optional>
#include <utility>
#include <vector>

namespace test {

template <typename R>
asio::awaitable<std::vector<cofork::indexed<R>>> rest_of(cofork::result_stream<R>& results)
{
    std::vector<cofork::indexed<R>> all;
    while (auto one = co_await results.next())
        all.push_back(std::move(*one));
    co_return all;
}

struct answer {
    bool came = false;
    std::exception_ptr error;
    std::optional<cofork::indexed<int>> next;
};

/// next() with a plain handler, its answer kept in place of an earlier one.
inline auto into(asio::io_context& context, answer& a)
{
    a = {};
    return asio::bind_executor(context, [&a](std::exception_ptr e, std::optional<cofork::indexed<int>> next) {
        a.came = true;
        a.error = e;
        a.next = std::move(next);
    });
}

} // namespace test
