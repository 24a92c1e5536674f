// What the crew's workers do, as it is seen now and then: who is late, and whose items another one had better have.

#include "crew.hpp"

#include <algorithm>

namespace cofork::detail {

bool crew::holds_up(const link& l, clock::time_point now) noexcept
{
    const auto since = l.running_since();
    return since && now - *since > patience;
}

std::chrono::milliseconds crew::patience_for(const call& c) const noexcept
{
    return c.is_unhurried() && !free_hands() ? 5 * patience : patience;
}

bool crew::could_help() const noexcept
{
    if (!free_hands())
        return false;
    bool waits = false;
    each_busy([&](const auto& l) {
        waits = l->alive() && l->waiting() > 0;
        return !waits;
    });
    return waits;
}

crew::sight crew::look(clock::time_point now)
{
    sight seen{clock::time_point::max(), false};
    const bool others = free_hands();
    for (const auto& l : links()) {
        if (const auto again = l->look(now))
            seen.again = std::min(seen.again, *again);
        if (!l->alive() || l->waiting() == 0)
            continue;
        if (others && holds_up(*l, now)) {
            l->take_back();
            seen.freed = true;
        }
        else
            seen.again = std::min(seen.again, now + patience_for(*l->owner()));
    }
    const auto is_free = [](const auto& l) { return l->alive() && l->idle(); };
    seen.freed = seen.freed || std::ranges::any_of(links(), is_free);
    return seen;
}

void crew::shorten()
{
    for (const auto& l : links()) {
        // What is still being sent would have to be sent all the same, and skipped.
        if (l->alive() && l->waiting() > 0 && l->started_unanswered() > 0 && !l->sends())
            l->take_back();
    }
}

void crew::retract()
{
    for (const auto& l : links()) {
        if (l->alive() && l->waiting() > 0 && l->owner()->is_too_much(l->waiting()))
            l->take_back();
    }
}

void crew::apply_stops()
{
    for (const auto& l : links()) {
        if (!l->owner() || !l->owner()->stopping())
            continue;
        if (l->owner()->must_kill())
            l->kill(kill_reason::cancelled);
        else if (l->held_items() > l->started_unanswered())
            l->take_back();
    }
}

bool crew::starts_known(call& c) const
{
    bool known = true;
    each_busy([&](const auto& l) {
        if (l->owner() != &c)
            return true;
        known = !l->waiting_to_start();
        if (const auto last = known ? l->last_start() : std::nullopt) // of an item of this call: it runs, or has ended unread
            c.started(*last);
        return known;
    });
    return known;
}

} // namespace cofork::detail
