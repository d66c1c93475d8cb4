"""The groups that a new installation starts with; what they may do is an administrator's to change."""

from typing import Any

from django.contrib.auth.models import Group, Permission

VIEW = ["models.view_model", "deployments.view_deployment", "deployments.view_usagerecord", "apikeys.view_apikey"]
DEPLOY = [
    *VIEW,
    "models.import_model", "models.view_connection", "models.change_model", "models.export_model",
    "deployments.add_deployment", "deployments.change_deployment",
    "deployments.deploy_deployment", "deployments.undeploy_deployment", "deployments.decide_deployment",
    "deployments.invoke_deployment",
    "apikeys.add_apikey", "apikeys.change_apikey", "apikeys.revoke_apikey",
]  # fmt: skip
GROUPS = {
    "Viewers": VIEW,
    "Deployers": DEPLOY,
    "Platform admins": [
        *DEPLOY,
        "models.delete_model",
        "models.override_rule",
        "deployments.delete_deployment",
        "deployments.view_capture",
        "models.add_connection",
        "models.change_connection",
        "models.delete_connection",
    ],
}


def create_groups(**_: Any) -> None:
    """Make the groups that aren't there yet; those that are stay as they are."""
    for name, codes in GROUPS.items():
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set([permission for code in codes for permission in _permission(code)])


def _permission(code: str) -> list[Permission]:
    app, codename = code.split(".")
    return list(Permission.objects.filter(content_type__app_label=app, codename=codename))
