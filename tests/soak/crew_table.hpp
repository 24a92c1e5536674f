#pragma once
// What killers know of workers: who they are, and whether one is in the middle of a frame.

#include "ledger.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

#include <sys/types.h>

namespace soak {

struct crew_entry {
    std::atomic<pid_t> pid;
    std::atomic<bool> mid_frame; ///< part of what it has to write is in its pipe, and the rest is not
    std::atomic<pid_t> stopped;  ///< who was sent a SIGSTOP; perhaps before it had entered itself here
};

/// In shared memory, found by pid. Two workers of one place overwrite each other, which only loses a count.
class crew_table {
public:
    crew_entry& of(pid_t pid) const noexcept { return entries_[static_cast<std::size_t>(pid) % entries_.size()]; }
    [[nodiscard]] bool knows(pid_t pid) const noexcept { return of(pid).pid == pid; }

    [[nodiscard]] crew_entry* begin() const noexcept { return entries_.begin(); }
    [[nodiscard]] crew_entry* end() const noexcept { return entries_.end(); }

private:
    shared_array<crew_entry> entries_{1009};
};

extern const crew_table* crew; ///< of the run in progress; null: nobody asks

/// Makes a table and uses it.
class keep_crew {
public:
    keep_crew() { crew = &table_; }
    ~keep_crew() { crew = nullptr; }
    keep_crew(const keep_crew&) = delete;
    keep_crew& operator=(const keep_crew&) = delete;

private:
    crew_table table_;
};

} // namespace soak
