"""What the first groups may do with keys, calls and usage."""

import pytest
from django.contrib.auth.models import Group, User

from modelyard.roles import create_groups

KEYS = {"apikeys.add_apikey", "apikeys.change_apikey", "apikeys.revoke_apikey"}
CALL = "deployments.invoke_deployment"
USAGE = "deployments.view_usagerecord"


@pytest.mark.parametrize(
    ("group", "may"),
    [
        ("Viewers", {USAGE}),
        ("Deployers", {USAGE, CALL, *KEYS}),
        ("Platform admins", {USAGE, CALL, *KEYS}),
    ],
)
def test_a_group_may_what_it_is_for(db: None, group: str, may: set[str]) -> None:
    create_groups()
    user = User.objects.create(username="anna")
    user.groups.add(Group.objects.get(name=group))
    assert {each for each in {USAGE, CALL, *KEYS} if user.has_perm(each)} == may
