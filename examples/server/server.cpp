// server: blocking, crash-prone work put out of an Asio server's process.
//
// Shows: a pool made first in main(), one line in the coroutine that serves a request, what a killed worker does to it, and
//        an end that loses no request: Ctrl-C or SIGTERM.
// Try:   ./server 8080, then: curl localhost:8080/21  (42 after a moment)
//                             curl localhost:8080/0   (the worker crashes; this request alone fails)
//        or kill -9 a cofork-worker while it works.

#include <cofork/cofork.hpp>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read_until.hpp>
#include <asio/redirect_error.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/write.hpp>

#include <cstdlib>
#include <iostream>
#include <set>
#include <string>
#include <system_error>
#include <thread>

using asio::ip::tcp;
using namespace std::chrono_literals;

/// The number in "GET /21 HTTP/1.1", or 0.
static int number_in(const std::string& request)
{
    const auto slash = request.find('/');
    return slash == std::string::npos ? 0 : std::atoi(request.c_str() + slash + 1);
}

// Blocks, and crashes on bad input. It runs in another process, so neither matters to the server.
static std::string slow_and_fragile(int x)
{
    std::this_thread::sleep_for(200ms);
    if (x == 0)
        std::abort();
    return std::to_string(2 * x) + "\n";
}

static asio::awaitable<std::string> answer(cofork::pool& pool, int x)
{
    auto result = co_await cofork::try_run(pool, slow_and_fragile, x, cofork::options{.timeout = 2s});
    co_return result ? *result : describe(result.error()) + "\n";
}

/// `idle`: connections that have not asked yet.
static asio::awaitable<void> serve(cofork::pool& pool, tcp::socket client, std::set<tcp::socket*>& idle)
{
    std::string request;
    std::error_code failed;
    idle.insert(&client);
    co_await asio::async_read_until(
        client, asio::dynamic_buffer(request, 8192), "\r\n\r\n", asio::redirect_error(asio::use_awaitable, failed));
    idle.erase(&client);
    if (failed)
        co_return;
    std::string status = "200 OK";
    std::string body;
    try {
        body = co_await answer(pool, number_in(request));
    }
    catch (const std::system_error& e) { // of the pool, not of an item: it is closed or overloaded
        status = "503 Service Unavailable";
        body = std::string{e.what()} + "\n";
    }
    const std::string reply = "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size())
        + "\r\n\r\n" + body;
    co_await asio::async_write(client, asio::buffer(reply), asio::use_awaitable);
}

static asio::awaitable<void> accept_all(cofork::pool& pool, tcp::acceptor& acceptor, std::set<tcp::socket*>& idle)
{
    for (;;) {
        auto client = co_await acceptor.async_accept(asio::use_awaitable);
        asio::co_spawn(acceptor.get_executor(), serve(pool, std::move(client), idle), asio::detached);
    }
}

/// Takes no more connections, lets what is being worked on end, for ten seconds at most, and then the workers.
static asio::awaitable<void> end_well(cofork::pool& pool, tcp::acceptor& acceptor, std::set<tcp::socket*>& idle)
{
    asio::signal_set stop{acceptor.get_executor(), SIGINT, SIGTERM};
    co_await stop.async_wait(asio::use_awaitable);
    acceptor.close();
    for (tcp::socket* client : idle)
        client->close(); // has asked nothing, and would keep us here
    asio::steady_timer patience{acceptor.get_executor(), 10s};
    patience.async_wait([&](std::error_code ec) {
        if (!ec)
            pool.close(); // kills what still runs; its requests get errc::pool_closed
    });
    co_await pool.async_drain();
    patience.cancel();
}

int main(int argc, char** argv)
{
    asio::io_context context;
    cofork::pool pool{context}; // first: workers inherit nothing that is made later

    const auto port = static_cast<unsigned short>(argc > 1 ? std::atoi(argv[1]) : 8080);
    tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), port}};
    std::cout << "listening on http://localhost:" << acceptor.local_endpoint().port() << "/" << std::endl;

    std::set<tcp::socket*> idle;
    asio::co_spawn(context, accept_all(pool, acceptor, idle), asio::detached);
    asio::co_spawn(context, end_well(pool, acceptor, idle), asio::detached);
    context.run();
}
