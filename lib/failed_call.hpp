#pragma once
// The exception that ends a call for another reason than an item that failed.

#include <exception>
#include <string>
#include <system_error>

namespace cofork::detail {

inline std::exception_ptr failed_call(std::error_code why)
{
    return std::make_exception_ptr(std::system_error{why});
}
inline std::exception_ptr failed_call(std::error_code why, const std::string& text)
{
    return std::make_exception_ptr(std::system_error{why, text});
}

} // namespace cofork::detail
