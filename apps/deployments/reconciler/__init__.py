"""Makes what people want of deployments so: one idempotent pass at a time, by whoever holds the lease."""

from apps.deployments.reconciler.loop import reconcile

__all__ = ["reconcile"]
