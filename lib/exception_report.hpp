#pragma once
// What a worker writes of an exception: the payload of a `threw`, see frame.hpp.

#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>

namespace cofork::detail {

/// Describes the exception that is being handled, into memory that exists before it is needed: an item that ran out
/// of memory must still be able to say so.
class exception_report {
public:
    /// `output`: the end of what the item has printed, at most max_output bytes.
    byte_view of_current_exception(std::uint64_t elapsed_ns, byte_view output = {}) noexcept
    {
        store(bytes_.data(), elapsed_ns);
        set_type(abi::__cxa_current_exception_type());
        set_output(output);
        try {
            throw;
        }
        catch (const std::exception& e) {
            add_text(e);
        }
        catch (...) {
        }
        return {bytes_.data(), size_};
    }

private:
    void set_type(const std::type_info* type) noexcept
    {
        int status = 0;
        const char* const raw = type ? type->name() : "";
        // Allocates; null when there is no memory, and then the mangled name has to do.
        char* const readable = abi::__cxa_demangle(raw, nullptr, nullptr, &status);
        const char* const name = readable ? readable : raw;
        const auto length = static_cast<std::uint32_t>(std::min(std::strlen(name), max_type));
        store(bytes_.data() + sizeof(std::uint64_t), length);
        std::memcpy(bytes_.data() + report_lead, name, length);
        size_ = report_lead + length;
        std::free(readable);
    }

    void set_output(byte_view output) noexcept
    {
        store(bytes_.data() + sizeof(std::uint64_t) + sizeof(std::uint32_t), static_cast<std::uint32_t>(output.size()));
        std::copy(output.begin(), output.end(), bytes_.data() + size_);
        size_ += output.size();
        text_end_ = size_ + max_what;
    }

    void append(const char* text) noexcept
    {
        const std::size_t length = std::min(std::strlen(text), text_end_ - size_);
        std::memcpy(bytes_.data() + size_, text, length);
        size_ += length;
    }

    void add_text(const std::exception& e) noexcept
    {
        try {
            append(e.what());
        }
        catch (...) { // not declared noexcept in every override
            append("(its what() threw)");
        }
        try {
            std::rethrow_if_nested(e);
        }
        catch (const std::exception& inner) {
            append(": ");
            add_text(inner);
        }
        catch (...) {
            append(": (not a std::exception)");
        }
    }

    std::array<std::byte, max_report> bytes_;
    std::size_t size_ = 0;
    std::size_t text_end_ = 0;
};

} // namespace cofork::detail
