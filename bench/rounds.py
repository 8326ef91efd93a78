"""In what order variants are measured, and what the figures of all rounds say.

The order is shuffled anew for each round, so that nothing always comes first or after
the same neighbour; with a fixed seed, so that every run has the same orders.

The figures of a variant are a list for each fleet (processes that were started
together) with one cost for each round. What is added to a base is the difference of
two figures of one round. How far it is left open is a bootstrap: fleets are drawn with
replacement, and from each its rounds, the same for all variants; 95 of 100 such draws
give a value within the interval. It holds what varies from round to round and from
process to process, not what is different on another machine.
"""

import random
import statistics

RESAMPLES = 2000
SEED = 1


def in_turn(names, count, seed=SEED):
    """For so many rounds: their number, from 1, and the names in the order of that one."""
    order, chance = list(names), random.Random(seed)
    for number in range(1, count + 1):
        chance.shuffle(order)
        yield number, list(order)


def flat(fleets):
    return [cost for fleet in fleets for cost in fleet]


def added_of_minima(costs, base):
    return min(flat(costs)) - min(flat(base))


def added_of_pairs(costs, base):
    """The median of the differences."""
    return statistics.median(a - b for a, b in zip(flat(costs), flat(base)))


def interval(estimate, *variants):
    """Between which values 95 of 100 draws have `estimate` of these variants."""
    chance, values = random.Random(SEED), []
    fleets = range(len(variants[0]))
    for _ in range(RESAMPLES):
        draw = []
        for fleet in chance.choices(fleets, k=len(fleets)):
            rounds = range(len(variants[0][fleet]))
            draw.append((fleet, chance.choices(rounds, k=len(rounds))))
        drawn = ([[costs[f][r] for r in rounds] for f, rounds in draw] for costs in variants)
        values.append(estimate(*drawn))
    values.sort()
    cut = RESAMPLES // 40
    return values[cut], values[-cut - 1]


def added_row(costs, base):
    """What is added: of minima, median of pairs, its interval; as cells of a table."""
    least, most = interval(added_of_pairs, costs, base)
    cells = [f"{added_of_minima(costs, base):.2f}", f"{added_of_pairs(costs, base):.2f}"]
    return [*cells, f"{least:.2f} to {most:.2f}"]


ADDED_HEADS = ["added, of minima", "added, median of pairs", "95 %"]
RATIO_HEADS = ["of what is added", "by medians of pairs", "95 %", "by minima", "aimed at"]


def ratio_row(what, ours, theirs, base, target):
    """What ours adds, as a part of what theirs adds; as cells of a table."""

    def ratio(*drawn):
        divisor = added_of_pairs(drawn[1], drawn[2])
        return added_of_pairs(drawn[0], drawn[2]) / divisor if divisor else float("inf")

    least, most = interval(ratio, ours, theirs, base)
    minima = added_of_minima(theirs, base)
    of_minima = added_of_minima(ours, base) / minima if minima else float("inf")
    cells = [f"{ratio(ours, theirs, base):.2f}", f"{least:.2f} to {most:.2f}"]
    aimed_at = "" if target is None else f"at most {target:.2f}"
    return [what, *cells, f"{of_minima:.2f}", aimed_at]
