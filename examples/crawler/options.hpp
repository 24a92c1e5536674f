#pragma once
// What the command line says.

#include "fetch.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace crawler {

struct settings {
    std::vector<std::string> start;  ///< normalised http URLs; empty with `serve`: the root of the embedded server
    std::optional<unsigned> workers; ///< empty: as many as there are processors
    std::chrono::nanoseconds pause{0};
    std::chrono::nanoseconds timeout = std::chrono::seconds{30};
    std::size_t max_pages = 0; ///< 0: no limit
    std::filesystem::path json; ///< empty: none
    std::filesystem::path serve; ///< empty: no embedded server
    fetch_settings faults;
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

} // namespace crawler
