#include "ledger.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include <unistd.h>

namespace soak {

const ledger* books = nullptr;

namespace {

/// The bytes of a result, in words; `each` returns false to stop.
template <typename Each>
bool for_words(const item& i, Each each)
{
    std::uint64_t x = mix(i.nonce, i.index);
    for (std::size_t at = 0; at < i.size; at += sizeof x) {
        x = std::rotl(x, 7) * 0x9e3779b97f4a7c15u + i.index;
        if (!each(at, std::min<std::size_t>(sizeof x, i.size - at), x))
            return false;
    }
    return true;
}

} // namespace

std::string result_of(const item& i)
{
    std::string text(i.size, '\0');
    for_words(i, [&](std::size_t at, std::size_t n, std::uint64_t word) {
        std::memcpy(text.data() + at, &word, n);
        return true;
    });
    return text;
}

bool is_result_of(const item& i, const std::string& value)
{
    return value.size() == i.size && for_words(i, [&](std::size_t at, std::size_t n, std::uint64_t word) {
        return std::memcmp(value.data() + at, &word, n) == 0;
    });
}

void note_start(const item& i)
{
    entry& e = (*books)[i.index];
    e.pid = ::getpid();
    e.began = clock_ns();
    ++e.starts;
}

void note_finish(const item& i)
{
    ++(*books)[i.index].finishes;
}

void spend(std::uint64_t ns)
{
    const std::uint64_t end = clock_ns() + ns;
    while (clock_ns() < end)
        ;
}

std::string work(const item& i)
{
    note_start(i);
    spend(i.cost);
    std::string result = result_of(i);
    note_finish(i);
    return result;
}

std::uint64_t lognormal(std::uint64_t median, std::uint64_t random)
{
    std::minstd_rand engine{static_cast<std::uint32_t>(random ^ (random >> 32))};
    return static_cast<std::uint64_t>(std::lognormal_distribution<>{std::log(static_cast<double>(median)), 0.8}(engine));
}

void audit::take(std::size_t index, const cofork::outcome<std::string>& o)
{
    const std::uint64_t t = clock_ns();
    if (gaps_)
        note_wait(index, o, t - last_);
    last_ = t;
    beat();
    ++now->items;
    if (index >= items_.size()) {
        ++now->wrong;
        return complain("an outcome for item " + std::to_string(index) + ", which there is not");
    }
    if (std::exchange(seen_[index], o ? 1 : 2) != 0) {
        ++now->twice;
        complain("a second outcome for item " + std::to_string(index));
    }
    if (o) {
        ++values_;
        if (is_result_of(items_[index], *o))
            return;
        ++now->wrong;
        return complain("item " + std::to_string(index) + " has a wrong value of " + std::to_string(o->size()) + " bytes");
    }
    ++failures_;
    const cofork::failure& why = o.error();
    if (why.index != index) {
        ++now->wrong;
        complain("the failure of item " + std::to_string(index) + " names item " + std::to_string(why.index));
    }
    if (!may_fail_(items_[index], why)) {
        ++now->wrong;
        complain("unexpected: " + describe(why));
    }
}

/// What came after a long wait tells where to look.
void audit::note_wait(std::size_t index, const cofork::outcome<std::string>& o, std::uint64_t ns) const
{
    note_gap(ns);
    if (ns < longest_gap)
        return;
    complain(std::to_string(ns / 1'000'000) + " ms without an outcome, after " + std::to_string(values_ + failures_) + " of "
        + std::to_string(items_.size()) + " and before that of item " + std::to_string(index) + " ("
        + (o ? "a value" : describe(o.error())) + ')');
}

void audit::close()
{
    for (std::size_t i = 0; i < items_.size(); ++i) {
        const std::uint32_t starts = ledger_[i].starts;
        const std::uint32_t finishes = ledger_[i].finishes;
        const auto name = [i] { return "item " + std::to_string(i); };
        if (seen_[i] == 0) {
            ++now->lost;
            complain(name() + " has no outcome; started " + std::to_string(starts) + " times");
        }
        if (starts > attempts_) {
            ++now->twice;
            complain(name() + " was started " + std::to_string(starts) + " times of " + std::to_string(attempts_));
        }
        if (finishes > starts || (seen_[i] == 1 && finishes == 0)) {
            ++now->wrong;
            complain(name() + " has finished " + std::to_string(finishes) + " times, started " + std::to_string(starts));
        }
    }
}

asio::awaitable<void> audit::drain(cofork::result_stream<std::string>& results)
{
    last_ = clock_ns();
    while (const auto next = co_await results.next())
        take(next->index, next->outcome);
}

} // namespace soak
