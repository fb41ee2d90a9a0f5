"""What the cap and the budget let a pool have: prices that can be paid, seats, and how pools share them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from controller.state.model import Policy, PoolView
from core.fleet.terms import Terms

_ROUNDING = 1e-9
"""Prices are sums of decimal fractions: what fits but for their last bit fits."""


def affordable(price: float, purse: float, policy: Policy) -> int:
    """How many more instances of `price` $/h the purse pays for; below 0 how many too many there are."""
    if not policy.budget_per_hour or not price:
        return policy.max_workers
    return math.floor(purse / price + _ROUNDING)


def price_of(view: PoolView, purse: float, policy: Policy) -> float:
    """$/h of the best offering that can be paid for; where none can, of the best one."""
    prices = [offering.price for offering in view.offerings]
    payable = (price for price in prices if affordable(price, purse, policy) > 0)
    return next(payable, prices[0] if prices else 0.0)


def seats_of(terms: Iterable[Terms], billable: int, policy: Policy) -> int:
    """How many instances there may be: the cap, or what the budget pays for at the highest price that is asked.

    Where too much is spent and nothing has a price, it is what they cost on average.
    """
    asking = [each for each in terms if each.needed > each.own] or list(terms)
    dearest = max(asking, key=lambda each: each.price_per_hour, default=None)
    if dearest is None:
        return policy.max_workers
    spend = dearest.spend_per_hour
    price = dearest.price_per_hour or (spend / billable if dearest.over_budget else 0.0)
    more = affordable(price, policy.budget_per_hour - spend, policy)
    return min(policy.max_workers, max(0, billable + more))


def share_out(terms: Mapping[str, Terms], cap: int) -> dict[str, int]:
    """Max-min fair: one worker after the other goes to the pool that has fewest, until all have what they need.

    Of pools that have equally few, one with work comes before one whose work is only foreseen; then one that had no
    worker for the drain goal L, then one that keeps a worker it has, then the one with most work, then by name. So
    pools that share too small a cap take turns of L.
    """
    shares = {pool: each.needed for pool, each in terms.items()}
    if sum(shares.values()) <= max(0, cap):
        return shares
    if len(terms) == 1:
        return dict.fromkeys(terms, max(0, cap))
    shares = dict.fromkeys(terms, 0)
    for _ in range(max(0, cap)):
        short = [pool for pool in terms if shares[pool] < terms[pool].needed]
        if not short:
            break
        shares[min(short, key=lambda pool: rank(pool, terms[pool], shares[pool]))] += 1
    return shares


def rank(pool: str, terms: Terms, share: int) -> tuple[int, bool, bool, bool, int, str]:
    early = not terms.outstanding and terms.ahead > 0
    patient = terms.starved_s is None or terms.starved_s < terms.drain_goal_s
    return share, early, patient, terms.own <= share, -terms.outstanding, pool
