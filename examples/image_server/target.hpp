#pragma once
// The target of a request, "/thumb/a%20b.jpg?w=320": path and query (http-parser, uriparser).

#include "http.hpp"

#include <string>

namespace image_server {

/// A request with path and query alone. Throws std::invalid_argument when it is none.
request parsed_target(const std::string& target);

} // namespace image_server
