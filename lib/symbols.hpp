#pragma once
// Names of addresses in this program: function, file and line as far as the program's files tell.

#include "crash_facts.hpp"

#include <cstdint>
#include <memory>
#include <string>

namespace cofork::detail {

/// Reads the debug information of what is loaded now, when it is first needed, and keeps it: some tens of milliseconds
/// the first time. Without libdw it knows only the names that the dynamic linker knows.
class symbols {
public:
    symbols();
    ~symbols();

    /// Fills `where` and `trace`. Addresses may be anything.
    void name(crash_facts& crash);

private:
    struct place {
        std::string function; ///< readable; empty when nobody knows
        std::string file;     ///< with its line; empty when nobody knows
        std::string module;   ///< the file that the code came from; empty outside all
        bool runtime = false; ///< of the language or the C library, not of the program
    };
    class debug_information;

    place find(std::uint64_t address);

    std::unique_ptr<debug_information> information_;
};

} // namespace cofork::detail
