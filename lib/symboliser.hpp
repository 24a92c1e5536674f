#pragma once
// The process that gives crashed workers' addresses their names, so that neither the program nor the nursery waits.

#include "owned_fd.hpp"
#include "page.hpp"

#include <cstdint>
#include <optional>

#include <sys/types.h>

namespace cofork::detail {

/// Of a nursery: a fork of it, so that its addresses mean the same. Begins with the first crash.
class symboliser {
public:
    symboliser(page* pages, std::uint32_t slots) noexcept : pages_{pages}, slots_{slots} {}

    /// Asks for the names of a slot's crash; false when there is nobody to ask.
    bool ask(std::uint32_t slot) noexcept;
    /// To poll for answers; -1 when nothing is asked.
    int descriptor() const noexcept { return socket_.get(); }
    /// A slot whose names are written. Nothing: none for now.
    std::optional<std::uint32_t> answer() noexcept;
    /// It ended, or takes too long: kills it. The next ask() makes another one.
    void give_up() noexcept;
    /// A child of ours was reaped: its number may be a stranger's from now on.
    void reaped(pid_t pid) noexcept { pid_ = pid_ == pid ? 0 : pid_; }

private:
    bool start() noexcept;
    [[noreturn]] void serve(owned_fd socket) noexcept;

    page* pages_;
    std::uint32_t slots_;
    owned_fd socket_;
    pid_t pid_ = 0;
};

} // namespace cofork::detail
