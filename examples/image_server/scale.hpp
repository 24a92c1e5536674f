#pragma once
// The work of one item: a file becomes a thumb. It runs in a worker.

#include "picture.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

namespace image_server {

/// For tests and demonstrations: what goes wrong in the worker.
enum class fault : unsigned char { none, crash, hang };

/// One file to scale. The bytes themselves travel: the worker may open nothing.
struct scale_job {
    std::shared_ptr<const std::string> file; ///< shared here, so that it is sent without a copy; a worker's own there
    unsigned width = 0;
    format kind = format::jpeg;
    std::size_t most_pixels = 0; ///< that the file may have; 0 = any number
    fault wrong = fault::none;

    template <typename Archive>
    void serialize(Archive& archive)
    {
        archive(file, width, kind, most_pixels, wrong);
    }
};

/// Scales it to `width`, and never makes it larger than it is. Throws what decode() throws.
std::string scale(const scale_job& job);

/// Whether workers can be shut in: not in a build with AddressSanitizer, which needs memory and system calls without limit.
bool can_be_strict() noexcept;

} // namespace image_server
