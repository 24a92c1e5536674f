#pragma once
// How a worker writes its results, decided by f: in pieces, so that it can die between them, slowly, or up to its death. The
// library's write(2) comes here first (own_writes.cpp; the linker's --wrap).

#include <cstddef>

namespace soak {

/// From f: enters this worker into the crew's table. From now on some of its writes are short.
void enlist();

/// From f: this worker dies of SIGKILL when so many more bytes of results are in its pipe.
void die_after(std::size_t bytes);

/// From f: this worker writes its results in pieces of a page, with a pause after each.
void write_slowly();

} // namespace soak
