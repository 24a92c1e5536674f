// crawler: fetches a site in worker processes and reports its broken links.
//
// Shows: a stream whose items grow while results come in, outcomes one by one, a pause and a timeout, progress,
// cancellation; and an event loop (it serves the site itself with --serve) that none of this blocks.

#include "crawl.hpp"
#include "options.hpp"
#include "report.hpp"
#include "server.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/signal_set.hpp>

#include <csignal>
#include <exception>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <utility>

namespace {

int run(const crawler::settings& chosen)
{
    asio::io_context context;
    std::vector<std::string> start = chosen.start;
    std::optional<crawler::server> embedded;
    if (!chosen.serve.empty()) {
        embedded.emplace(context.get_executor(), chosen.serve);
        start = {embedded->start_url()};
        std::cerr << "crawler: serving " << chosen.serve.string() << " at " << start.front() << std::endl;
    }

    asio::cancellation_signal stop;
    asio::signal_set signals{context, SIGINT, SIGTERM};
    int caught = 0;
    signals.async_wait([&](const std::error_code& error, int signo) {
        if (error)
            return;
        caught = signo;
        stop.emit(asio::cancellation_type::terminal);
    });

    crawler::report found;
    std::exception_ptr thrown;
    asio::co_spawn(context, crawler::crawl(chosen, start),
                   asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr e, crawler::report result) {
                       thrown = e;
                       found = std::move(result);
                       context.stop(); // the server and the signals would go on for ever
                   }));
    context.run();
    if (thrown)
        std::rethrow_exception(thrown);

    crawler::print(std::cout, found);
    if (!std::cout.flush())
        throw std::runtime_error{"the report cannot be written to stdout: is the disk full?"};
    if (!chosen.json.empty())
        crawler::write_json(chosen.json, found);
    if (found.end == crawler::ending::interrupted)
        return 128 + caught; // as the shell reports a death by that signal
    const bool nothing = found.pages.empty() && found.files.empty();
    return found.end == crawler::ending::failed || nothing ? 1 : 0;
}

} // namespace

int main(int argc, char** argv)
try {
    const crawler::settings chosen = crawler::parse_command_line(argc, argv);
    if (chosen.help) {
        std::cout << crawler::help_text;
        return 0;
    }
    return run(chosen);
} catch (const crawler::usage_error& error) {
    std::cerr << "crawler: " << error.what() << "\nTry crawler --help.\n";
    return 2;
} catch (const std::exception& error) {
    std::cerr << "crawler: " << error.what() << '\n';
    return 1;
}
