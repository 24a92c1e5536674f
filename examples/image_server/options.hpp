#pragma once
// What the command line says.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>

namespace image_server {

struct settings {
    std::filesystem::path folder;
    std::string address = "127.0.0.1";
    std::uint16_t port = 8080;       ///< 0: any that is free
    std::optional<unsigned> workers; ///< empty: as many as there are processors
    std::size_t queue = 256;         ///< thumbs that are made or wait; more are refused
    std::size_t cache = std::size_t{64} << 20;   ///< bytes of thumbs
    std::size_t memory = std::size_t{512} << 20; ///< bytes that a worker may take
    std::size_t most_pixels = 40'000'000;        ///< of a photograph; 0: what the memory allows
    std::size_t connections = 1024;              ///< at once; more are refused
    std::chrono::nanoseconds timeout = std::chrono::seconds{10}; ///< for one thumb
    std::chrono::nanoseconds idle = std::chrono::seconds{60};    ///< a connection without a request is closed
    std::chrono::nanoseconds slow = std::chrono::seconds{10};    ///< a request must arrive within it, and an answer be taken
    std::chrono::nanoseconds grace = std::chrono::seconds{10};   ///< at the end, for what is being worked on
    std::string crash; ///< name of a photograph whose decoder shall crash
    std::string hang;  ///< name of one whose decoder shall hang
    bool help = false;
};

/// The command line cannot be understood; the text says what and names the argument.
class usage_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Throws usage_error.
settings parse_command_line(int argc, const char* const* argv);

extern const char* const help_text;

} // namespace image_server
