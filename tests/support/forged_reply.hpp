#pragma once
// Replies that no worker gives: for tests that write into a worker's pipe what they like.

#include "worker_side.hpp"

#include "frame.hpp"
#include "page.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace test {

inline constexpr int attacker = 13; ///< the item that attacks

inline void send(const void* bytes, std::size_t size)
{
    (void)!::write(own_pipe(O_WRONLY), bytes, size);
}

/// The header of a reply for the item that runs.
inline cofork::detail::reply_header reply(
    std::uint64_t size, cofork::detail::reply_kind kind = cofork::detail::reply_kind::value)
{
    return {cofork::detail::reply_magic, kind, 0, own_page().started - 1, size};
}

inline void send_reply(const cofork::detail::reply_header& header, std::string_view payload = {})
{
    std::vector<std::byte> bytes(sizeof header);
    cofork::detail::store(bytes.data(), header);
    const auto* const from = reinterpret_cast<const std::byte*>(payload.data());
    bytes.insert(bytes.end(), from, from + payload.size());
    send(bytes.data(), bytes.size());
}

} // namespace test
