#pragma once
// A value that is made while it comes, and is its bytes.

#include <cofork/detail/job.hpp>

#include <memory>

namespace test {

struct plain_block : cofork::detail::arriving_block {
    static std::unique_ptr<arriving_block> make() { return std::make_unique<plain_block>(); }
    /// All that has come of a value, of which `lead` came first.
    static cofork::detail::byte_buffer whole(cofork::detail::byte_view lead, const arriving_block* rest)
    {
        cofork::detail::byte_buffer all{lead.begin(), lead.end()};
        const auto& behind = static_cast<const plain_block*>(rest)->bytes;
        all.insert(all.end(), behind.begin(), behind.end());
        return all;
    }

    void expect(std::size_t) override {}
    void add(cofork::detail::byte_view more) override { bytes.insert(bytes.end(), more.begin(), more.end()); }

    cofork::detail::byte_buffer bytes;
};

} // namespace test
