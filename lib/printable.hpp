#pragma once
// Text that may be shown to people although nobody knows where it came from.

#include <string>
#include <string_view>

namespace cofork::detail {

/// `text` in one line that cannot drive a terminal or fake a second line of a log: control characters, what turns the
/// direction of text, and bytes that are no UTF-8 are written as \n, \t or \x1b.
std::string printable(std::string_view text);

} // namespace cofork::detail
