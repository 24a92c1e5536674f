#pragma once
// Text for people: of what nobody knows where it came from, and of how a process ended.

#include <cstdint>
#include <string>
#include <string_view>

namespace cofork::detail {

/// `text` in one line that cannot drive a terminal or fake a second line of a log: control characters, what turns the
/// direction of text, and bytes that are no UTF-8 are written as \n, \t or \x1b.
std::string printable(std::string_view text);

/// 0x and the digits that it needs.
std::string hexadecimal(std::uint64_t number);

/// How a worker ended: by a signal, else with an exit status, else (-1) nothing is known and the text is empty.
std::string ending_text(int signo, int exit_code);

} // namespace cofork::detail
