#pragma once
// How many of a crew's workers are as what: so that a turn need not look at each of a thousand.

namespace cofork::detail {

struct standing {
    bool alive = false;   ///< it takes items
    bool busy = false;    ///< it has some
    bool sends = false;   ///< something is on its way to it
    bool leaving = false; ///< it was told to go, or may have no more, and is not gone
    bool gone = false;    ///< and nobody has freed its slot
};

struct roll {
    unsigned alive = 0;
    unsigned busy = 0;
    unsigned sends = 0;
    unsigned leaving = 0;
    unsigned gone = 0;

    void replace(const standing& before, const standing& now) noexcept
    {
        const auto count = [](unsigned& all, bool was, bool is) { all += static_cast<unsigned>(is) - static_cast<unsigned>(was); };
        count(alive, before.alive, now.alive);
        count(busy, before.busy, now.busy);
        count(sends, before.sends, now.sends);
        count(leaving, before.leaving, now.leaving);
        count(gone, before.gone, now.gone);
    }
};

} // namespace cofork::detail
