#include "options.hpp"

#include "scale.hpp"

#include <asio/ip/address.hpp>

#include <charconv>
#include <cmath>
#include <limits>
#include <string_view>
#include <system_error>

namespace image_server {

const char* const help_text =
    R"(usage: image_server [options] DIR

Serves the photographs under DIR (.jpg, .jpeg, .png, .webp) over HTTP, scaled in worker processes that may do nothing
else: no files, no network, so much memory, so much time. A picture that is broken or hostile costs its own request.

  GET /                              the gallery, and what each worker does now
  GET /thumb/NAME?w=320&as=webp      the photograph NAME, 16 to 2048 pixels wide (320), as jpeg, png or webp (jpeg)
  GET /photos /state                 the names; the workers; as JSON
  GET /metrics /trace                for Prometheus; for ui.perfetto.dev
  GET /healthz                       whether the server itself answers

  --port N           listen there; 0 is any free port (default: 8080)
  --address ADDRESS  and on this address (default: 127.0.0.1)
  --workers N        most worker processes at once (default: one per processor)
  --queue N          most thumbs that are made or wait at once; more get 503 (default: 256)
  --cache SIZE       keep so many bytes of thumbs (default: 64MiB)
  --memory SIZE      most memory of one worker (default: 512MiB)
  --max-pixels N     most pixels of a photograph, 0 for any number (default: 40000000)
  --connections N    most connections at once; more get 503 (default: 1024)
  --timeout TIME     most time for one thumb; then its worker is killed (default: 10s)
  --idle TIME        close a connection that asks nothing for so long (default: 60s)
  --slow TIME        most time for a request to arrive, and for an answer to be taken (default: 10s)
  --grace TIME       at the end, most time for what is being worked on (default: 10s)
  --help             show this

TIME is a number with ms, s or min behind it, SIZE one with KiB, MiB or GiB; without a unit seconds and bytes.
Ctrl-C and SIGTERM end the server when the requests that it has are answered; a second one ends it at once.
Exit status: 0 ended so, 1 something failed, 2 the command line is wrong.
)";

namespace {

[[noreturn]] void wrong(std::string_view name, const char* what, std::string_view text)
{
    throw usage_error{std::string{name} + ": not " + what + ": " + std::string{text}};
}

template <typename Number>
Number count(std::string_view name, std::string_view text)
{
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        wrong(name, "a number of the kind wanted", text);
    return value;
}

std::size_t bytes(std::string_view name, std::string_view text)
{
    std::size_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    const int shift = unit.empty() ? 0 : unit == "KiB" ? 10 : unit == "MiB" ? 20 : unit == "GiB" ? 30 : -1;
    if (error != std::errc{} || shift < 0 || value > (std::numeric_limits<std::size_t>::max() >> 1 >> shift))
        wrong(name, "a size", text);
    return value << shift;
}

std::chrono::nanoseconds duration(std::string_view name, std::string_view text)
{
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
    const double seconds = unit == "ms" ? 1e-3 : unit == "s" || unit.empty() ? 1 : unit == "min" ? 60 : -1;
    if (error != std::errc{} || seconds < 0 || !(value > 0) || value * seconds > 1e6)
        wrong(name, "a time", text);
    return std::chrono::nanoseconds{std::llround(value * seconds * 1e9)};
}

bool store_amount(settings& into, std::string_view name, std::string_view value)
{
    if (name == "--workers")
        into.workers = count<unsigned>(name, value);
    else if (name == "--queue")
        into.queue = count<std::size_t>(name, value);
    else if (name == "--cache")
        into.cache = bytes(name, value);
    else if (name == "--memory")
        into.memory = bytes(name, value);
    else if (name == "--max-pixels")
        into.most_pixels = count<std::size_t>(name, value);
    else if (name == "--connections")
        into.connections = count<std::size_t>(name, value);
    else if (name == "--timeout")
        into.timeout = duration(name, value);
    else if (name == "--idle")
        into.idle = duration(name, value);
    else if (name == "--slow")
        into.slow = duration(name, value);
    else if (name == "--grace")
        into.grace = duration(name, value);
    else
        return false;
    return true;
}

// Whether `name` is an option that takes a value, which is then stored.
bool store(settings& into, std::string_view name, std::string_view value)
{
    if (name == "--port")
        into.port = count<std::uint16_t>(name, value);
    else if (name == "--address")
        into.address = value;
    else if (name == "--inject-crash")
        into.crash = value;
    else if (name == "--inject-hang")
        into.hang = value;
    else
        return store_amount(into, name, value);
    return true;
}

void check(const settings& chosen)
{
    if (chosen.help)
        return;
    // Then nothing would stand between a bomb and the machine.
    if (chosen.most_pixels == 0 && (chosen.memory == 0 || !can_be_strict()))
        throw usage_error{"--max-pixels 0 needs a limit on memory, which a build with AddressSanitizer does not have"};
    if (chosen.folder.empty())
        throw usage_error{"which folder?"};
    if (!std::filesystem::is_directory(chosen.folder))
        throw usage_error{"not a directory: " + chosen.folder.string()};
    std::error_code ec;
    asio::ip::make_address(chosen.address, ec);
    if (ec)
        wrong("--address", "an IP address", chosen.address);
    if (chosen.workers == 0u || chosen.queue == 0 || chosen.connections == 0)
        throw usage_error{"--workers, --queue and --connections are at least 1"};
}

} // namespace

settings parse_command_line(int argc, const char* const* argv)
{
    settings chosen;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--help" || argument == "-h") {
            chosen.help = true;
        } else if (!argument.starts_with('-')) {
            if (!chosen.folder.empty())
                throw usage_error{"one folder, not also " + std::string{argument}};
            chosen.folder = argument;
        } else if (const auto equals = argument.find('='); equals != argument.npos) {
            if (!store(chosen, argument.substr(0, equals), argument.substr(equals + 1)))
                throw usage_error{"unknown option: " + std::string{argument}};
        } else if (i + 1 == argc) {
            throw usage_error{std::string{argument} + " is unknown or needs a value"};
        } else if (!store(chosen, argument, argv[++i])) {
            throw usage_error{"unknown option: " + std::string{argument}};
        }
    }
    check(chosen);
    return chosen;
}

} // namespace image_server
