#include "frame.hpp"

#include <cofork/detail/job.hpp>

#include <cstdlib>
#include <cxxabi.h>
#include <typeinfo>

#include <unistd.h>

namespace cofork::detail {

failure current_failure()
{
    failure why;
    why.pid = ::getpid();
    if (const std::type_info* const type = abi::__cxa_current_exception_type()) {
        int status = 0;
        char* const name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
        why.type = name ? name : type->name();
        std::free(name);
    }
    try {
        throw;
    }
    catch (const encode_too_large& e) {
        why.kind = failure_kind::limit;
        why.limit = limited::result;
        why.what = e.what();
    }
    catch (const std::exception& e) {
        why.what = std::string{e.what()}.substr(0, max_what);
    }
    catch (...) {
    }
    return why;
}

} // namespace cofork::detail
