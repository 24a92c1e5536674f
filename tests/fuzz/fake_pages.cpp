// The pages of workers in memory of our own, whose ends a sanitizer watches. In place of the ones that lib/nursery_client.cpp
// maps.

#include "nursery_client.hpp"

#include <cstdlib>
#include <new>

namespace cofork::detail {

shared_pages::shared_pages(std::uint32_t count) : pages_{nullptr}, count_{count}
{
    pages_ = static_cast<page*>(std::aligned_alloc(alignof(page), count * sizeof(page)));
    if (!pages_)
        throw std::bad_alloc{};
    for (std::uint32_t i = 0; i < count; ++i)
        new (&pages_[i]) page{};
}

shared_pages::~shared_pages()
{
    std::free(pages_);
}

arena* shared_pages::open_arena(std::uint32_t) noexcept
{
    return nullptr;
}

void shared_pages::clear_arena(std::uint32_t) noexcept {}
void shared_pages::trim_arenas() noexcept {}

} // namespace cofork::detail
