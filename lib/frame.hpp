#pragma once
// The wire format between the parent and one worker. Pure: no system calls, no allocation.
//
//   job pipe     batch := job_header captures item*        (no items when by_index)
//                item := u64 size, bytes                   a small one
//                item := u64 size + is_large, part*        until all its bytes have come
//                part := u64 size, bytes                   or u64 size + is_large, u64 position in the arena
//   result pipe  reply := reply_header payload             "ready" (or "unfit"), then one for each started item, in the order
//                                                          of their starts. If its size says is_large, the payload in parts
//                payload, of a measured batch := item_usage, then what it else is
//
// Host byte order and no version field: both ends are forks of one image, so they agree by construction. The parent
// still distrusts every field of a reply: a worker may be hostile, or scribble over its memory before it crashes.

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace cofork::detail {

struct job_header {
    std::uint32_t magic;
    std::uint32_t epoch;        ///< items of an older epoch than the page's were given to another worker: skip them
    std::uint32_t count;        ///< items of this batch
    std::uint8_t by_index;      ///< 1: items are first, first + 1, ... of the snapshot; 0: their bytes follow
    std::uint8_t exact;         ///< 1: when each item begins counts; 0: also of trivial ones it is known to a microsecond only
    std::uint16_t measured;     ///< 1: each reply begins with what its item has used
    std::uint64_t first;        ///< index of the first item
    std::uint64_t entry;        ///< address of the pool's entry; 0 = what the snapshot inherited
    std::uint64_t captures;     ///< bytes of f that follow the header
    std::uint64_t may_wait;     ///< ns: so long results may wait in the page
    std::uint64_t max_result;   ///< bytes; a larger result is a failure of its item
    std::uint64_t call;         ///< number of a call of run(), by which people know its item; 0: they know it by its index
};

inline constexpr std::uint32_t job_magic = 0x316a6b63; // "ckj1" in memory
static_assert(std::has_unique_object_representations_v<job_header>); // padding would leak stack bytes

/// In a size: of an item or a reply, that it comes in parts; of a part, that it lies in the arena.
inline constexpr std::uint64_t is_large = std::uint64_t{1} << 63;

enum class reply_kind : std::uint8_t {
    value = 1, ///< payload: the encoded result
    threw = 2, ///< payload: u64 ns from the item's start, u32 length of the type's name, u32 length of what the item has
               ///< printed, the name, what it has printed, the text
    limit = 3, ///< payload: as threw
    unfit = 4, ///< payload: as threw; the worker's state could not be made, it exits
    ready = 5, ///< first of all: the state is made, items are taken. Payload: ready_note, or nothing
    no_memory = 6, ///< payload: as threw; policy::memory was too little for the item
};

struct reply_header {
    std::uint16_t magic;
    reply_kind kind;
    std::uint8_t ran;       ///< how long the item took: its duration_class
    std::uint32_t sequence; ///< how many items this worker had started before
    std::uint64_t size;     ///< bytes of payload
};

inline constexpr std::uint16_t reply_magic = 0x7263; // "cr" in memory
static_assert(sizeof(reply_header) == 16);

/// What one item has used. Said by the worker, so for people.
struct item_usage {
    std::uint64_t began;  ///< steady clock, ns
    std::uint64_t ran;    ///< ns
    std::uint64_t cpu;    ///< ns of its process meanwhile
    std::uint64_t memory; ///< bytes: the most that its process has had resident
};
static_assert(std::has_unique_object_representations_v<item_usage>);

/// What a worker says of itself. Believed: no f has run in it by then.
struct ready_note {
    std::uint32_t on;          ///< cofork::protection
    std::uint32_t cpu_seconds; ///< that the kernel lets it have in its whole life, by the policy; 0 = any
};
static_assert(std::has_unique_object_representations_v<ready_note>);

/// Longest text of an exception that travels, and longest name of its type.
inline constexpr std::size_t max_what = 16 * 1024;
inline constexpr std::size_t max_type = 1024;
/// Of what an item has printed the end travels.
inline constexpr std::size_t max_output = 4 * 1024;
/// Longest payload of a reply that is not a value.
inline constexpr std::size_t report_lead = sizeof(std::uint64_t) + 2 * sizeof(std::uint32_t);
inline constexpr std::size_t max_report = sizeof(item_usage) + report_lead + max_type + max_output + max_what;

/// Beyond this no sum of sizes could be trusted, whatever options::max_result says.
inline constexpr std::uint64_t longest_reply = std::uint64_t{1} << 60;

constexpr bool comes_in_parts(const reply_header& h) noexcept
{
    return (h.size & is_large) != 0;
}

/// What is wrong with a reply header, or null. `next` is the sequence that must come.
constexpr const char* wrong_with(const reply_header& h, std::uint32_t next, std::uint64_t max_result) noexcept
{
    if (h.magic != reply_magic)
        return "bad magic number";
    if (h.kind < reply_kind::value || h.kind > reply_kind::no_memory)
        return "unknown kind of reply";
    if (h.sequence != next)
        return "reply for an item that is not the next";
    const std::uint64_t most = h.kind == reply_kind::value   ? max_result
                               : h.kind == reply_kind::ready ? sizeof(ready_note)
                                                             : max_report;
    if ((h.size & ~is_large) > std::min(most, longest_reply))
        return "reply longer than allowed";
    if (h.size == is_large)
        return "reply in no parts";
    return nullptr;
}

template <typename T>
T load(const std::byte* from) noexcept
{
    static_assert(std::is_trivially_copyable_v<T>);
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

template <typename T>
void store(std::byte* to, const T& value) noexcept
{
    static_assert(std::is_trivially_copyable_v<T>);
    std::memcpy(to, &value, sizeof value);
}

} // namespace cofork::detail
