// image_server: scales photographs for browsers, in workers that may do nothing else.
//
// Shows: a pool of strict workers in an HTTP server, their failures as answers of HTTP, killed workers that no client notices,
// metrics, a trace and the live state of the workers, and an end that loses no request.

#include "gallery.hpp"
#include "options.hpp"
#include "scale.hpp"
#include "server.hpp"
#include "service.hpp"
#include "witness.hpp"

#include <cofork/pool.hpp>

#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>
#include <asio/steady_timer.hpp>
#include <asio/use_awaitable.hpp>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iostream>
#include <system_error>

#include <sys/resource.h>

namespace image_server {

namespace {

/// What a worker does before it is shut in. Whoever only asks for /healthz or a thumb that is there shall not wait because
/// workers use all processors.
int prepare()
{
    return ::setpriority(PRIO_PROCESS, 0, 10);
}

cofork::pool_options workers_for(const settings& chosen, witness& seen)
{
    cofork::pool_options how;
    how.workers = chosen.workers.value_or(cofork::all_cpus);
    how.min_workers = 1;
    how.init = prepare;
    how.sandbox.level = cofork::containment::strict;
    how.sandbox.memory = chosen.memory;
    if (!can_be_strict())
        how.sandbox.missing = cofork::if_unavailable::degrade;
    how.max_calls = chosen.queue;
    how.overload = cofork::when_full::fail;
    how.output = cofork::output_mode::null; // what libraries say about a picture is in its answer
    how.on_event = std::ref(seen);
    return how;
}

/// For the last answers to be written, when there is no more patience.
constexpr std::chrono::seconds farewell{1};

/// Waits for Ctrl-C or SIGTERM; then for what is being worked on, but not for ever.
asio::awaitable<void> end_well(server& front, cofork::pool& pool, const settings& chosen)
{
    const auto ex = co_await asio::this_coro::executor;
    asio::signal_set signals{ex, SIGINT, SIGTERM};
    co_await signals.async_wait(asio::use_awaitable);
    std::cerr << "image_server: ending; once more to end at once" << std::endl;
    front.end_soon();
    signals.async_wait([&](std::error_code ec, int) {
        if (ec)
            return;
        front.end_now();
        pool.close(); // kills what still runs
    });
    asio::steady_timer grace{ex, std::chrono::duration_cast<asio::steady_timer::duration>(chosen.grace)};
    grace.async_wait([&](std::error_code ec) {
        if (ec)
            return;
        pool.close(); // those that still wait are told so: 503
        grace.expires_after(farewell);
        grace.async_wait([&](std::error_code late) {
            if (!late)
                front.end_now();
        });
    });
    co_await front.ended();
    co_await pool.async_drain();
    grace.cancel();
    signals.cancel();
}

void run(const settings& chosen)
{
    asio::io_context context{1};
    witness seen;
    cofork::pool pool{context, workers_for(chosen, seen)}; // first: workers inherit nothing that is made later
    const gallery photos{chosen.folder};
    service answers{pool, photos, seen, chosen};
    server front{context.get_executor(), chosen, [&](const request& asked) { return answers.answer(asked); }};
    answers.connections = [&] { return front.connections(); };
    std::cerr << "image_server: " << photos.all().size() << " photographs at http://" << chosen.address << ':' << front.port()
              << '/' << std::endl;
    asio::co_spawn(context, front.accept_all(), asio::detached);
    asio::co_spawn(context, end_well(front, pool, chosen), asio::detached);
    context.run();
}

} // namespace

} // namespace image_server

int main(int argc, char** argv)
try {
    const auto chosen = image_server::parse_command_line(argc, argv);
    if (chosen.help)
        std::cout << image_server::help_text;
    else
        image_server::run(chosen);
    return EXIT_SUCCESS;
} catch (const image_server::usage_error& error) {
    std::cerr << "image_server: " << error.what() << "\nTry image_server --help.\n";
    return 2;
} catch (const std::exception& error) {
    std::cerr << "image_server: " << error.what() << '\n';
    return EXIT_FAILURE;
}
