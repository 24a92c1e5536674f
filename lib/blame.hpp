#pragma once
// Why an item failed that was running when its worker ended.

#include "nursery_protocol.hpp"
#include "page_view.hpp"
#include "sandbox_rules.hpp"

#include <cofork/failure.hpp>

#include <chrono>
#include <optional>

namespace cofork::detail {

/// Why the parent kills a worker.
enum class kill_reason { none, timeout, cancelled, protocol, boot };

struct worker_end {
    std::optional<nursery_report> told; ///< nothing: it went with its nursery
    kill_reason reason;                 ///< ours, when we killed it
    const char* detail;                 ///< protocol: what was wrong
    const sandbox_rules* rules;         ///< that it lived under; null: none
    std::chrono::seconds cpu{0};        ///< that the kernel let it have in its whole life, by the rules; 0 = any
};

/// `is_target`: it is the item whose time was over. Index and attempts are left to its call.
failure blame(const worker_end& end, const page_view& page, int pid, bool is_target);

} // namespace cofork::detail
