"""Who may work on a deployment now."""

from datetime import timedelta

from django.utils import timezone

from apps.deployments.models import Deployment
from apps.deployments.reconciler import lease
from tests.deployments.conftest import Make


def left(make: Make, **ahead: float) -> Deployment:
    """A deployment whose lease is somebody's for so long."""
    deployment = make()
    until = timezone.now() + timedelta(**ahead)
    Deployment.objects.filter(pk=deployment.pk).update(lease_owner="another", lease_until=until)
    return deployment


def test_a_lease_from_before_the_clock_was_set_back_is_free(make: Make) -> None:
    with lease.hold(left(make, hours=1).pk) as mine:
        assert mine is not None


def test_the_longest_lease_is_somebodys(make: Make) -> None:
    with lease.hold(left(make, seconds=lease.LONGEST).pk) as mine:
        assert mine is None
