// What a worker says of its end: reports of exceptions, and the page of a crash. Whatever it holds, people get one line that
// they can read, of a length that is known.

#include "demand.hpp"
#include "input.hpp"

#include "blame.hpp"
#include "page_view.hpp"
#include "printable.hpp"
#include "report.hpp"
#include "symbols.hpp"

#include <algorithm>
#include <csignal>
#include <memory>

#include <sys/wait.h>

namespace {

using namespace fuzz;
using namespace cofork::detail;
using cofork::failure;
using cofork::failure_kind;

/// What is the longest that a line may be for so many bytes of text: each may be written as \xff.
constexpr std::size_t longest_line(std::size_t text)
{
    return 4 * text + 512;
}

constexpr std::size_t crash_texts = sizeof(crash_facts::type) + sizeof(crash_facts::what) + sizeof(crash_facts::where);

/// Whether a terminal would act on it. Said once more, and not with printable(): that is what may be wrong.
bool acts(std::string_view line)
{
    const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (std::ranges::any_of(line, control))
        return true;
    for (std::size_t at = 0; at + 1 < line.size(); ++at) {
        const auto byte = [&](std::size_t i) { return at + i < line.size() ? static_cast<unsigned char>(line[at + i]) : 0u; };
        if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) < 0xa0) // C1
            return true;
        if (byte(0) == 0xe2 && byte(1) == 0x80 && byte(2) >= 0xa8 && byte(2) <= 0xae) // separators, directions
            return true;
        if (byte(0) == 0xe2 && byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9) // isolates
            return true;
    }
    return false;
}

void demand_readable(const failure& why, std::size_t text)
{
    const std::string line = describe(why);
    demand(!acts(line), "a failure is one line that drives no terminal");
    demand(printable(line) == line, "and is printable as it is");
    demand(line.size() <= longest_line(text), "a failure's line is no longer than its texts allow");
    demand(line.starts_with("item "), "a failure's line begins as it should");
    demand(cofork::item_error(why).what() == line, "and it is what an exception says");
}

/// As lib/link.cpp makes a failure of a report.
void read_a_report(input& from)
{
    const auto raw = from.rest();
    const auto exact = std::make_unique<std::byte[]>(raw.size()); // a sanitizer sees the first byte beyond it
    std::ranges::copy(std::as_bytes(raw), exact.get());
    const auto said = read_report({exact.get(), raw.size()});
    const auto claimed = [&] {
        return std::uint64_t{load<std::uint32_t>(exact.get() + 8)} + load<std::uint32_t>(exact.get() + 12);
    };
    demand(said.has_value() || raw.size() < report_lead || claimed() > raw.size() - report_lead,
        "a report is refused only when it is too short for what it says");
    if (!said)
        return;
    demand(said->type.size() + said->output.size() + said->what.size() + report_lead == raw.size(), "a report's texts are all that it holds");
    demand(said->elapsed.count() >= 0, "no time is negative");
    failure why;
    why.elapsed = said->elapsed;
    why.type = said->type;
    why.what = said->what;
    demand_readable(why, raw.size());
}

/// Every field, and then some bytes again and again to the end of the page.
void fill(crash_facts& crash, input& from)
{
    crash.signal = from.yes() ? SIGSEGV : from.number<std::int32_t>();
    crash.address = from.number<std::uint64_t>();
    crash.pc = from.number<std::uint64_t>();
    crash.has_address = from.below(3);
    crash.stack_overflow = from.below(3);
    crash.depth = from.yes() ? from.below(64) : from.number<std::uint32_t>();
    for (auto& frame : crash.frames)
        frame = crash.pc + from.byte();
    const auto text = [&](auto& field) {
        const auto part = from.bytes(from.number<std::uint16_t>() % 300);
        if (!part.empty())
            for (std::size_t i = 0; i < sizeof field; ++i)
                field[i] = static_cast<char>(part[i % part.size()]);
        if (from.yes())
            field[std::min(part.size(), sizeof field - 1)] = '\0';
    };
    text(crash.type);
    text(crash.what);
    text(crash.where);
    text(crash.trace);
    crash.stage = from.below(4);
}

void fill(page& p, input& from)
{
    p.claim = make_claim(from.byte(), from.number<std::uint32_t>());
    p.started_at = from.number<std::uint64_t>();
    p.finished = from.number<std::uint32_t>();
    p.pid = from.number<std::uint32_t>();
    p.busy = from.number<std::uint64_t>();
    fill(p.crash, from);
    p.printed.whose = from.yes() ? static_cast<std::uint32_t>(p.claim) : from.number<std::uint32_t>();
    p.printed.size = from.number<std::uint32_t>();
}

const sandbox_rules& strict_rules()
{
    static const sandbox_rules rules = [] {
        sandbox_rules all;
        all.wanted.level = cofork::containment::strict;
        all.wanted.cpu = std::chrono::seconds{1};
        return all;
    }();
    return rules;
}

worker_end make_end(input& from, int signal)
{
    worker_end end{{}, static_cast<kill_reason>(from.below(4)), from.yes() ? "bad magic number" : nullptr,
        from.yes() ? &strict_rules() : nullptr};
    if (from.yes())
        return end; // it went with its nursery
    end.told.emplace();
    end.told->code = from.yes() ? CLD_EXITED : CLD_KILLED;
    end.told->status = from.yes() ? signal : from.number<std::int32_t>();
    return end;
}

void demand_clean_names(crash_facts& crash)
{
    crash.type[0] = '\0'; // demangled by the C++ library, whose limits are not ours
    symbols{}.name(crash);
    for (const std::span<const char> text : {std::span<const char>{crash.where}, std::span<const char>{crash.trace}})
        demand(
            crash.stage < 2 || crash.pc == 0 || std::ranges::find(text, '\0') != text.end(), "names end in their field");
}

void judge_a_crash(input& from)
{
    const auto pages = std::make_shared<shared_pages>(1);
    const page_view view{pages, 0};
    page& p = *pages->get();
    fill(p, from);
    const worker_end end = make_end(from, p.crash.signal);
    failure why = blame(end, view, view.pid(), from.yes());
    why.index = from.number<std::uint64_t>();
    why.attempts = from.number<std::uint32_t>();
    demand(why.elapsed.count() >= 0, "no time is negative");
    demand(why.output.size() <= max_output, "what was printed is no longer than its field");
    demand(why.backtrace.size() <= sizeof(crash_facts::trace), "a trace is no longer than its field");
    demand(why.kind != failure_kind::timeout || end.reason == kill_reason::timeout, "who was not over its time is not told so");
    demand_readable(why, crash_texts);
    demand_clean_names(p.crash);
    demand_readable(blame(end, view, 0, true), crash_texts);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    input from{data, size};
    if (from.yes())
        read_a_report(from);
    else
        judge_a_crash(from);
    return 0;
}
