"""Who may do what: Django's permissions, named by each view for each of its verbs."""

from typing import Any

from django.contrib.auth.models import User
from rest_framework.exceptions import NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request


class VerbPermissions(BasePermission):
    """Allows a verb to people who have the permission that the view names for it; verbs it doesn't name to nobody.

    A view declares `verb_permissions = {"list": "models.view_model", "retry": "models.import_model"}`; an empty string
    means that being logged in is enough.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """True if the caller is logged in and has the verb's permission."""
        if not (request.user and request.user.is_authenticated):
            return False
        verb = getattr(view, "action", None) or str(request.method).lower()
        if verb in {"options", "metadata"}:
            return True
        verb = "get" if verb == "head" else verb
        needed = getattr(view, "verb_permissions", {}).get(verb)
        if needed is None:
            # A method that the view doesn't have: let it answer 405 itself.
            return getattr(view, "action", verb) is None
        return not needed or request.user.has_perm(needed)


def caller(request: Request) -> User:
    """The person behind a request that VerbPermissions let through."""
    if not isinstance(request.user, User):
        raise NotAuthenticated
    return request.user
