#pragma once
// Writing values into bytes, and reading them back from bytes that nobody vouches for.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace cofork {

template <typename T>
struct codec;

/// An encoder passed its limit.
class encode_too_large : public std::length_error {
public:
    explicit encode_too_large(std::size_t limit);
    std::size_t limit() const noexcept { return limit_; }

private:
    std::size_t limit_;
};

/// The bytes are not a value of the type that is read.
class decode_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

namespace detail {

// Out of the way of what happens for each trivial value.

[[noreturn, gnu::cold]] void throw_decode_error(const char* what);
[[noreturn, gnu::cold]] void throw_too_large(std::size_t limit);

/// Who takes the bytes of a large result from where they are, before they go away.
class whole_result_taker {
public:
    virtual void take(std::uint64_t count, std::span<const std::byte> bytes) noexcept = 0;

protected:
    ~whole_result_taker() = default;
};

/// A copy takes longer than one more write.
inline constexpr std::size_t least_left_block = 64 * 1024;

/// A large block of a value that stays where it is until it has been sent.
struct left_block {
    std::size_t at; ///< of the encoded bytes: what it comes before
    std::shared_ptr<const void> keeper;
    std::span<const std::byte> bytes;
};

/// Values nested deeper than this are refused on both sides: a recursion must not be driven by the bytes.
inline constexpr unsigned deepest_value = 256;

/// Counts one level of nesting while it lives.
template <typename Error>
class nesting {
public:
    explicit nesting(unsigned& depth) : depth_{depth}
    {
        if (depth_ == deepest_value)
            throw Error{"values are nested deeper than 256 levels"};
        ++depth_;
    }
    ~nesting() { --depth_; }
    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;

private:
    unsigned& depth_;
};

} // namespace detail

/// Appends values to bytes.
class encoder {
public:
    /// `limit`: bytes that may be written by this encoder; more throws encode_too_large. `taker` is the library's.
    explicit encoder(
        std::vector<std::byte>& out, std::size_t limit = std::numeric_limits<std::size_t>::max(),
        detail::whole_result_taker* taker = nullptr) noexcept
        : out_{out}, limit_{limit}, taker_{taker}
    {
    }
    /// The library's: blocks may be left out of `out`.
    encoder(std::vector<std::byte>& out, std::vector<detail::left_block>& left) noexcept : out_{out}, left_{&left} {}

    void bytes(const void* from, std::size_t size)
    {
        if (size > limit_ - written_)
            detail::throw_too_large(limit_);
        written_ += size;
        const auto* const first = static_cast<const std::byte*>(from);
        out_.insert(out_.end(), first, first + size);
    }

    template <typename T>
    void value(const T& v)
    {
        codec<T>::encode(*this, v);
    }

    /// A block of bytes that `keeper` owns, and that nobody changes any more. Where it is worth it and the bytes go to another
    /// process, they are sent from where they are. `keeper` is released on the strand of the place, not before the item has an
    /// outcome, and after a cancellation perhaps a little later than the call. Else the bytes are copied.
    void bytes(std::shared_ptr<const void> keeper, std::span<const std::byte> block)
    {
        if (detail::left_block* const left = leave(block.size())) {
            left->keeper = std::move(keeper);
            left->bytes = block;
        }
        else
            bytes(block.data(), block.size());
    }

    /// Room for a block that is not copied, whose owner and place are for the caller to say; null when it had better be.
    detail::left_block* leave(std::size_t size)
    {
        if (!left_ || size < detail::least_left_block)
            return nullptr;
        left_->push_back({out_.size(), nullptr, {}});
        written_ += size;
        return &left_->back();
    }

    /// The whole value is this block of elements and their number. Returns whether it was worth it, and is done.
    bool pass_on(std::uint64_t count, const void* from, std::size_t size) noexcept
    {
        if (!taker_ || written_ > 0 || size < worth_passing || size > limit_ - std::min(limit_, sizeof count))
            return false;
        taker_->take(count, {static_cast<const std::byte*>(from), size});
        return true;
    }

    std::size_t written() const noexcept { return written_; }

    [[nodiscard]] auto deeper() { return detail::nesting<std::length_error>{depth_}; }

private:
    static constexpr std::size_t worth_passing = 32 * 1024; // a copy takes longer than all else

    std::vector<std::byte>& out_;
    std::vector<detail::left_block>* left_ = nullptr;
    std::size_t limit_ = std::numeric_limits<std::size_t>::max();
    detail::whole_result_taker* taker_ = nullptr;
    std::size_t written_ = 0;
    unsigned depth_ = 0;
};

/// Reads values from bytes. Everything is checked before anything is allocated: the bytes may come from a process that
/// is hostile.
class decoder {
public:
    explicit decoder(std::span<const std::byte> bytes) noexcept : bytes_{bytes} {}

    void bytes(void* to, std::size_t size)
    {
        const auto from = view(size);
        if (size > 0)
            std::memcpy(to, from.data(), size);
    }

    /// The next `size` bytes in place; valid as long as what the decoder was made with.
    std::span<const std::byte> view(std::size_t size)
    {
        if (size > bytes_.size())
            detail::throw_decode_error("the bytes end in the middle of a value");
        const auto taken = bytes_.first(size);
        bytes_ = bytes_.subspan(size);
        return taken;
    }

    template <typename T>
    T value()
    {
        return codec<T>::decode(*this);
    }

    /// Throws unless `count` elements of at least `each` bytes can be there. Elements may be empty (each = 0): then no
    /// more are believed than the bytes that are left and a few.
    void require(std::uint64_t count, std::size_t each) const
    {
        const std::uint64_t most = each > 0 ? bytes_.size() / each : bytes_.size() + most_empty;
        if (count > most)
            detail::throw_decode_error("a length that the bytes cannot hold");
    }

    std::size_t left() const noexcept { return bytes_.size(); }

    /// Throws when bytes are left.
    void finish() const
    {
        if (!bytes_.empty())
            detail::throw_decode_error("bytes are left after the value");
    }

    [[nodiscard]] auto deeper() { return detail::nesting<decode_error>{depth_}; }

private:
    static constexpr std::size_t most_empty = 4096;

    std::span<const std::byte> bytes_;
    unsigned depth_ = 0;
};

} // namespace cofork
