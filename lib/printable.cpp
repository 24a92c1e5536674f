#include "printable.hpp"

#include <string.h> // sigabbrev_np: glibc 2.32

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>

namespace cofork::detail {
namespace {

/// Length of the well-formed UTF-8 sequence at the start of `text`, and its code point; length 0 when there is none.
struct code_point {
    std::size_t length;
    std::uint32_t value;
};

code_point decode(std::string_view text) noexcept
{
    const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(0);
    if (first < 0x80)
        return {1, first};
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length)
        return {0, 0};
    std::uint32_t value = first & (0xffu >> (length + 1));
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80)
            return {0, 0};
        value = value << 6 | (byte(i) & 0x3fu);
    }
    constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000}; // shorter forms exist below: overlong
    const bool surrogate = value >= 0xd800 && value <= 0xdfff;
    return value < least[length] || value > 0x10ffff || surrogate ? code_point{0, 0} : code_point{length, value};
}

/// Whether a terminal or a log viewer would act on it, not show it: C0, DEL, C1 (U+009B starts an escape sequence),
/// line and paragraph separators, and what turns the direction of the text around it.
bool acts(std::uint32_t c) noexcept
{
    return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e)
        || (c >= 0x2066 && c <= 0x2069);
}

void append_escaped_byte(std::string& out, char c)
{
    constexpr char digits[] = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\n')
        out += "\\n";
    else if (c == '\t')
        out += "\\t";
    else
        out += {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
}

} // namespace

std::string printable(std::string_view text)
{
    std::string out;
    out.reserve(text.size());
    while (!text.empty()) {
        const code_point c = decode(text);
        const std::size_t length = c.length == 0 ? 1 : c.length;
        if (c.length != 0 && !acts(c.value))
            out += text.substr(0, length);
        else
            for (const char byte : text.substr(0, length))
                append_escaped_byte(out, byte);
        text.remove_prefix(length);
    }
    return out;
}

std::string hexadecimal(std::uint64_t number)
{
    std::array<char, 16> digits;
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16).ptr;
    return "0x" + std::string{digits.data(), end};
}

std::string ending_text(int signo, int exit_code)
{
    if (signo == 0)
        return exit_code < 0 ? std::string{} : "exited with status " + std::to_string(exit_code) + " in the middle of the item";
    std::string text = "signal " + std::to_string(signo);
    if (const char* name = ::sigabbrev_np(signo)) // null for the real-time signals
        text.append(" (SIG").append(name).append(")");
    return text;
}

} // namespace cofork::detail
