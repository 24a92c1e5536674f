#include "scale.hpp"

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <utility>

#include <unistd.h>

namespace image_server {

namespace {

void go_wrong(fault how)
{
    if (how == fault::crash)
        std::raise(SIGSEGV);
    while (how == fault::hang)
        ::pause();
}

} // namespace

std::string scale(const scale_job& job)
{
    go_wrong(job.wrong);
    decoded full = decode(*job.file, job.width, job.most_pixels);
    const unsigned width = std::min(job.width, full.width);
    const auto height = static_cast<unsigned>((std::uint64_t{full.height} * width + full.width / 2) / full.width);
    picture thumb = scaled(std::move(full.pixels), width, std::max(height, 1u));
    return encode(std::move(thumb), job.kind);
}

bool can_be_strict() noexcept
{
#ifdef __SANITIZE_ADDRESS__
    return false;
#elif defined(__has_feature)
    return !__has_feature(address_sanitizer);
#else
    return true;
#endif
}

} // namespace image_server
