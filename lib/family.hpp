#pragma once
// Ending children, and whoever they leave behind.

#include <sys/types.h>

namespace cofork::detail {

/// Kills `pid` and its process group. Precondition: it is a child that has not been reaped, so that neither number can be a
/// stranger's.
void kill_family(pid_t pid) noexcept;

/// Kills and reaps all children of this process until none is left, those too that come to it, a subreaper, when their
/// parent dies (prctl(2)).
void end_all_children() noexcept;

} // namespace cofork::detail
