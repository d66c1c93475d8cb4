"""Limits that hold over all web processes: counted in Redis, with leases taken in advance.

Redis counts what was used or leased in each window of its own clock; a process uses up its lease without asking again,
and gives back what it doesn't use within half a second. So the sum that all processes grant in a window never exceeds
the limit. What isn't known before a request was answered (its tokens) is reserved and settled afterwards: a window can
be overdrawn by what the requests under way use beyond their reservations, and by nothing else.
"""

from apps.deployments.gateway.limits.budget import Budget, Exceeded, Limits, Terms
from apps.deployments.gateway.limits.keeper import Keeper
from apps.deployments.gateway.limits.store import Away

__all__ = ["Away", "Budget", "Exceeded", "Keeper", "Limits", "Terms"]
