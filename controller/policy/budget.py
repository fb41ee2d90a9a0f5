"""Share the cap and the budget among the pools: affordable prices, total capacity and each pool's fair share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from controller.state.model import Policy, PoolView
from core.fleet.terms import Terms

_ROUNDING = 1e-9
"""Prices are sums of decimal fractions: an error in the last bit must not cost an instance."""


def count_affordable(price: float, remaining: float, policy: Policy) -> int:
    """Return how many more instances of `price` $/h the remaining budget ($/h) pays for.

    A negative count says how many instances there are too many. Without a budget or a price it is the cap.
    """
    if not policy.budget_per_hour or not price:
        return policy.max_workers
    return math.floor(remaining / price + _ROUNDING)


def choose_price(view: PoolView, remaining: float, policy: Policy) -> float:
    """Return the $/h of the best affordable offering; if none is affordable, of the best one."""
    prices = [offering.price for offering in view.offerings]
    payable = (price for price in prices if count_affordable(price, remaining, policy) > 0)
    return next(payable, prices[0] if prices else 0.0)


def compute_capacity(terms: Iterable[Terms], billable: int, policy: Policy) -> int:
    """Return how many instances all pools may have: the cap, or what the budget pays for.

    The budget is divided by the highest price among the pools that ask for more workers. If it is exceeded and no
    offering has a price, it is divided by the average price of the running instances.
    """
    asking = [each for each in terms if each.needed > each.own] or list(terms)
    dearest = max(asking, key=lambda each: each.price_per_hour, default=None)
    if dearest is None:
        return policy.max_workers
    spend = dearest.spend_per_hour
    price = dearest.price_per_hour or (spend / billable if dearest.over_budget else 0.0)
    more = count_affordable(price, policy.budget_per_hour - spend, policy)
    return min(policy.max_workers, max(0, billable + more))


def share_fairly(terms: Mapping[str, Terms], capacity: int) -> dict[str, int]:
    """Return each pool's max-min fair share: one by one, each worker goes to the pool that has the fewest.

    `rank_pool` breaks ties, so pools that share too small a cap take turns of one drain goal L.
    """
    shares = {pool: each.needed for pool, each in terms.items()}
    if sum(shares.values()) <= max(0, capacity):
        return shares
    if len(terms) == 1:
        return dict.fromkeys(terms, max(0, capacity))
    shares = dict.fromkeys(terms, 0)
    for _ in range(max(0, capacity)):
        short = [pool for pool in terms if shares[pool] < terms[pool].needed]
        if not short:
            break
        shares[min(short, key=lambda pool: rank_pool(pool, terms[pool], shares[pool]))] += 1
    return shares


def rank_pool(pool: str, terms: Terms, share: int) -> tuple[int, bool, bool, bool, int, str]:
    """Return a sort key: the pool with the smallest key gets the next worker.

    In this order, it prefers the smallest share, work over a mere forecast, a pool starved for the drain goal L or
    longer, a pool that would have to drain a worker otherwise, the most work, and the first name.
    """
    early = not terms.outstanding and terms.ahead > 0
    patient = terms.starved_s is None or terms.starved_s < terms.drain_goal_s
    return share, early, patient, terms.own <= share, -terms.outstanding, pool
