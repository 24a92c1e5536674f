// Chaos: workers, nurseries, parents and system calls fail at any moment, and the books must balance.

#include "checks.hpp"
#include "figures.hpp"
#include "supervisor.hpp"

#include <cofork/transport.hpp>

#include <asio/io_context.hpp>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <optional>
#include <random>
#include <string_view>
#include <vector>

namespace {

using namespace soak;

constexpr run runs[] = {
    {"S1", "kill storm", "a random worker is killed every 5 ms, half of them in the middle of a frame", kill_storm, true},
    {"S2", "faster than spawn", "a random worker is killed every ms", faster_than_spawn, true},
    {"S3", "random signals", "STOP, CONT, SEGV, TERM, KILL and XCPU; items may take 100 ms", random_signals, true},
    {"S4", "byte sweep", "workers die at every offset of a result frame", byte_sweep, true},
    {"S5", "poison", "items that crash, throw, hang or write noise into their pipe, in batches of 1, 8 and 64", poison},
    {"S6", "failing calls", "the k-th system call of a kind fails: in the program, its nursery, its workers", failing_calls},
    {"S7", "cancel and destroy", "calls, pools and contexts end at random points", cancel_and_destroy},
    {"S9", "starvation", "a worker floods the loop that serves a TCP echo at 1 kHz", starvation},
    {"S11", "threads", "four threads hold libc's locks while 2000 workers are forked", threads_beside},
    {"S12", "parent death", "the program is killed at a random moment, with pools in its workers", parent_death, true},
};

void usage(std::ostream& out)
{
    out << "usage: soak [--seed N] [--scale X] [--transport ring|reactor] [--patience S] [RUN...]\n\n"
           "Runs what is named, or all, and prints a line of figures for each; exit status 1 when one is missed.\n\n"
           "  --seed N         repeats a run, as far as the kernel's scheduling allows\n"
           "  --scale X        of the amounts: 1 is the table of faults.md, 0.01 takes seconds\n"
           "  --transport T    ring or reactor; else what COFORK_TRANSPORT says\n"
           "  --patience S     so many seconds without progress are a hang; 30\n\n";
    for (const run& r : runs)
        out << "  " << r.name << std::string(5 - std::strlen(r.name), ' ') << r.title << ": " << r.about << '\n';
}

[[noreturn]] void misused(const std::string& what)
{
    std::cerr << "soak: " << what << "; see soak --help\n";
    std::exit(2);
}

struct wishes {
    settings how;
    double patience = 30;
    std::string transport;
    std::vector<const run*> chosen;
};

template <typename Number>
Number number(std::string_view option, std::string_view text)
{
    Number n{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{} || end != text.data() + text.size() || n < 0)
        misused("what is " + std::string{option} + ' ' + std::string{text} + '?');
    return n;
}

const run& run_named(std::string_view name)
{
    const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
    const auto* const found =
        std::ranges::find_if(runs, [&](const run& r) { return std::ranges::equal(std::string_view{r.name}, name, same); });
    if (found == std::end(runs))
        misused("there is no run " + std::string{name});
    return *found;
}

wishes read(int argc, char** argv)
{
    wishes w;
    w.how.seed = std::random_device{}();
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--help" || word == "-h") {
            usage(std::cout);
            std::exit(0);
        }
        if (!word.starts_with("-")) {
            w.chosen.push_back(&run_named(word));
            continue;
        }
        if (i + 1 == argc)
            misused("unknown, or without its value: " + std::string{word});
        const std::string_view value = argv[++i];
        if (word == "--seed")
            w.how.seed = number<std::uint64_t>(word, value);
        else if (word == "--scale")
            w.how.scale = number<double>(word, value);
        else if (word == "--patience")
            w.patience = number<double>(word, value);
        else if (word == "--transport" && (value == "ring" || value == "reactor"))
            w.transport = value;
        else
            misused("unknown: " + std::string{word} + ' ' + std::string{value});
    }
    if (w.chosen.empty())
        for (const run& r : runs)
            w.chosen.push_back(&r);
    return w;
}

std::string name_of_transport()
{
    asio::io_context context;
    return to_string(cofork::transport(context.get_executor()));
}

} // namespace

int main(int argc, char** argv)
{
    const wishes w = read(argc, argv);
    if (!w.transport.empty())
        ::setenv("COFORK_TRANSPORT", w.transport.c_str(), 1);
    const char* const transport = std::getenv("COFORK_TRANSPORT");
    if (transport && transport != name_of_transport()) {
        std::printf("there is no transport %s here\n", transport);
        return 77; // skipped
    }
    std::printf("seed %llu, scale %g, transport %s\n", static_cast<unsigned long long>(w.how.seed), w.how.scale,
        transport ? transport : "as the machine allows");
    std::fflush(stdout);
    supervisor watch{w.how, w.patience};
    bool good = true;
    for (const run* r : w.chosen)
        good = watch.carry_out(*r) && good;
    return good ? 0 : 1;
}
