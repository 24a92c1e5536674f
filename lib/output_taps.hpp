#pragma once
// What workers print, on its way through the nursery: behind a tag to where the program prints, or into the worker's page.

#include "owned_fd.hpp"
#include "page.hpp"

#include <cofork/options.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <poll.h>
#include <sys/types.h>

namespace cofork::detail {

/// Where the program prints. Never blocks: what cannot be written now waits here.
class printer {
public:
    void open(int fd) noexcept;

    void print(std::string_view text);
    void go_on() noexcept;
    bool waits() const noexcept { return !unwritten_.empty(); }
    /// Nobody reads what it has: workers are to wait until it is less.
    bool full() const noexcept { return unwritten_.size() > most; }
    int number() const noexcept { return reopened_ ? reopened_.get() : fd_; }

private:
    static constexpr std::size_t most = 64 * 1024;

    ssize_t write_some(std::string_view text) const noexcept;

    int fd_ = -1;
    owned_fd reopened_; // the same pipe or terminal, non-blocking for us and for nobody else
    std::string unwritten_;
};

class output_taps {
public:
    output_taps(page* pages, std::uint32_t slots, output_mode mode);

    /// Whether workers print into pipes that are read here.
    bool on() const noexcept { return mode_ == output_mode::tag || mode_ == output_mode::capture; }

    /// The pipes of a worker that is to be forked now; false when there are no descriptors for them.
    bool open(std::uint32_t slot) noexcept;
    /// Whether the descriptors there are were made stdout and stderr. In the worker. Its copies of the pipes, which it keeps, are
    /// put into `kept`, above stdio.
    void redirect(std::uint32_t slot, std::vector<int>& kept) noexcept;
    /// The worker has its ends. In the nursery.
    void forked(std::uint32_t slot, pid_t pid) noexcept;
    /// The worker has ended: takes what there is, and lets go.
    void close(std::uint32_t slot) noexcept;

    /// Appends what to wait for, and later takes it. `watched` begins with the first one appended.
    void watch(std::vector<pollfd>& watched);
    void serve(const pollfd* watched) noexcept;
    /// The end: what still waits is written, for at most `patience_ms`.
    void flush(int patience_ms) noexcept;

private:
    /// Who prints, as the worker says.
    struct speaker {
        std::uint32_t whose = 0; // printed_facts::printing
        std::uint64_t index = 0;
        std::uint64_t call = 0;
    };
    struct stream {
        owned_fd read, write;
        std::string line; // tag: the part of one that has come
        speaker of;       // that part
    };
    struct tap {
        pid_t pid = 0;
        std::array<stream, 2> streams; // stdout, stderr; capture: both are the first
    };
    /// What watch() has appended: a printer, or a worker's stream.
    struct place {
        bool prints;
        std::uint32_t slot;
        std::size_t which;
    };

    bool take(std::uint32_t slot, std::size_t which) noexcept;
    void keep(std::uint32_t slot, std::uint32_t whose, std::string_view text) noexcept;
    void tag(std::uint32_t slot, std::size_t which, const speaker& of, std::string_view text);
    void print_line(tap& from, std::size_t which);

    page* pages_;
    output_mode mode_;
    std::vector<tap> taps_; // empty when not on()
    std::array<printer, 2> printers_; // tag: of stdout and stderr
    std::vector<place> watched_;
    owned_fd nowhere_; // null: /dev/null
};

} // namespace cofork::detail
