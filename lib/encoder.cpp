#include <cofork/encoder.hpp>

#include <string>

namespace cofork {

encode_too_large::encode_too_large(std::size_t limit)
    : std::length_error{"larger than the limit of " + std::to_string(limit) + " bytes"}, limit_{limit}
{
}

void detail::throw_decode_error(const char* what)
{
    throw decode_error{what};
}

void detail::throw_too_large(std::size_t limit)
{
    throw encode_too_large{limit};
}

} // namespace cofork
