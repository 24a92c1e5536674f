#include "symbols.hpp"

#include "printable.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <string_view>
#include <vector>

#include <dlfcn.h>
#include <unistd.h>

#ifdef COFORK_LIBDW
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#endif

namespace cofork::detail {

namespace {

std::string readable(const char* name)
{
    int status = 0;
    char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
    std::string result = text ? text : name;
    std::free(text);
    return result.substr(0, result.find(" [clone ")); // a part that the optimiser cut off: the function is the same
}

std::string_view file_name(std::string_view path)
{
    return path.substr(path.rfind('/') + 1);
}

/// Code that is not the program's own, and that says little about where it went wrong.
bool is_runtime(std::string_view module)
{
    const std::string_view name = file_name(module);
    constexpr std::array<std::string_view, 9> known{
        "libc.so", "libc-", "libstdc++", "libc++", "libgcc_s", "libpthread", "ld-linux", "[vdso]", "linux-vdso"};
    const auto begins = [&](std::string_view k) { return name.starts_with(k); };
    return std::ranges::any_of(known, begins) || name.starts_with("libasan") || name.starts_with("libubsan")
        || name.starts_with("libtsan");
}

/// A function of the library, whatever its arguments and what it returns.
bool is_ours(std::string_view function)
{
    const std::size_t at = function.find("cofork::detail::");
    return at != std::string_view::npos && at < function.find_first_of("<(");
}

template <std::size_t Size>
void copy(char (&into)[Size], std::string_view text)
{
    const std::size_t length = std::min(text.size(), Size - 1);
    std::memcpy(into, text.data(), length);
    into[length] = '\0';
}

} // namespace

#ifdef COFORK_LIBDW

class symbols::debug_information {
public:
    debug_information()
    {
        ::unsetenv("DEBUGINFOD_URLS"); // else it would ask servers
        static char* debug_paths = nullptr;
        static const Dwfl_Callbacks callbacks{
            .find_elf = ::dwfl_linux_proc_find_elf,
            .find_debuginfo = ::dwfl_standard_find_debuginfo,
            .section_address = nullptr,
            .debuginfo_path = &debug_paths,
        };
        session_ = ::dwfl_begin(&callbacks);
        if (session_ && (::dwfl_linux_proc_report(session_, ::getpid()) != 0 || ::dwfl_report_end(session_, nullptr, nullptr) != 0))
            end();
    }
    ~debug_information() { end(); }
    debug_information(const debug_information&) = delete;
    debug_information& operator=(const debug_information&) = delete;

    void add_to(place& p, std::uint64_t address) const
    {
        ::Dwfl_Module* const module = session_ ? ::dwfl_addrmodule(session_, address) : nullptr;
        if (!module)
            return;
        if (const char* const name = ::dwfl_module_addrname(module, address))
            p.function = readable(name);
        if (::Dwfl_Line* const line = ::dwfl_module_getsrc(module, address)) {
            int number = 0;
            if (const char* const file = ::dwfl_lineinfo(line, nullptr, &number, nullptr, nullptr, nullptr))
                p.file = std::string{file} + ':' + std::to_string(number);
        }
        else
            search_units(p, module, address);
    }

private:
    /// clang writes no index of addresses (.debug_aranges): then every unit is asked whether the address is its own.
    static void search_units(place& p, ::Dwfl_Module* module, std::uint64_t address)
    {
        ::Dwarf_Addr bias = 0;
        for (::Dwarf_Die* unit = nullptr; (unit = ::dwfl_module_nextcu(module, unit, &bias));) {
            if (::dwarf_haspc(unit, address - bias) != 1)
                continue;
            int number = 0;
            ::Dwarf_Line* const line = ::dwarf_getsrc_die(unit, address - bias);
            const char* const file = line ? ::dwarf_linesrc(line, nullptr, nullptr) : nullptr;
            if (file && ::dwarf_lineno(line, &number) == 0)
                p.file = std::string{file} + ':' + std::to_string(number);
            return;
        }
    }

    void end()
    {
        if (session_)
            ::dwfl_end(session_);
        session_ = nullptr;
    }

    ::Dwfl* session_ = nullptr;
};

#else

class symbols::debug_information {
public:
    void add_to(place&, std::uint64_t) const {}
};

#endif

symbols::symbols() = default;
symbols::~symbols() = default;

symbols::place symbols::find(std::uint64_t address)
{
    place found;
    Dl_info info{};
    // NOLINTNEXTLINE(performance-no-int-to-ptr)
    if (::dladdr(reinterpret_cast<void*>(static_cast<std::uintptr_t>(address)), &info) == 0)
        return found;
    found.module = info.dli_fname ? info.dli_fname : "";
    found.function = info.dli_sname ? readable(info.dli_sname) : "";
    found.runtime = is_runtime(found.module);
    if (found.runtime)
        return found; // to look for its debug information would take longer than all the rest
    if (!information_)
        information_ = std::make_unique<debug_information>();
    information_->add_to(found, address);
    return found;
}

void symbols::name(crash_facts& crash)
{
    if (crash.stage < 2 && crash.pc == 0)
        return; // it did not crash, it gave up
    const std::uint64_t* const end = crash.frames + std::min(crash.depth, crash_facts::most_frames);
    // Before the frame that crashed come those of the handler. A jump into nothing has no frame: then only its caller.
    const std::uint64_t* const begin = std::find(static_cast<const std::uint64_t*>(crash.frames), end, crash.pc);
    std::vector<std::uint64_t> addresses{crash.pc};
    if (begin != end)
        for (const std::uint64_t* frame = begin + 1; frame != end; ++frame)
            addresses.push_back(*frame - 1); // a call may be the last instruction of its line, or of its function
    std::string trace;
    std::string inner; // the first function, when it is the runtime's
    std::string where;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const place p = find(addresses[i]);
        if (p.function.ends_with("::on_terminate()") || p.function == "__clang_call_terminate")
            continue; // between the runtime's terminate and the function that it was called for
        if (i > 0 && is_ours(p.function))
            break; // from here on the worker's own
        const std::string function = !p.function.empty() ? p.function : hexadecimal(addresses[i]);
        trace += '#' + std::to_string(i) + ' ' + function;
        if (!p.file.empty())
            trace += " at " + p.file;
        else if (!p.module.empty())
            trace += " in " + p.module;
        trace += '\n';
        if (i == 0 && p.runtime && crash.signal != SIGABRT)
            inner = function;
        if (where.empty() && !p.runtime && !p.function.empty())
            where = p.file.empty() ? function : function + " (" + std::string{file_name(p.file)} + ')';
    }
    if (!inner.empty())
        where = where.empty() ? inner : inner + ", called from " + where;
    copy(crash.where, where);
    copy(crash.trace, trace);
    if (crash.type[0] != '\0') {
        crash.type[sizeof crash.type - 1] = '\0';
        copy(crash.type, readable(crash.type));
    }
}

} // namespace cofork::detail
