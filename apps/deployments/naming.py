"""The names that deployments may have: callers send them, so each is there once."""

from apps.deployments.models import Deployment
from modelyard.problems import Problem

LONGEST = 100


def clean(name: str) -> str:
    """The name as it is stored; a Problem if it can't be one."""
    cleaned = " ".join(name.split())
    if not cleaned or len(cleaned) > LONGEST or not cleaned.isprintable() or "/" in cleaned:
        step = f"Give it 1 to {LONGEST} printable characters without a slash."
        raise Problem("invalid_name", "The name isn't valid.", step, status=400)
    return cleaned


def check(name: str) -> str:
    """The name as it would be stored; a Problem if no new deployment can have it."""
    cleaned = clean(name)
    if Deployment.objects.filter(name=cleaned).exists():
        raise taken(cleaned)
    return cleaned


def taken(name: str) -> Problem:
    """For a name that a deployment has."""
    said = f"There is a deployment named {name!r} already."
    return Problem("name_taken", said, f"Choose another name: {free(name)!r} is free.", status=409)


def free(wanted: str) -> str:
    """The wanted name, or one like it that nobody has yet; empty for an empty one."""
    name = " ".join(wanted.split()).replace("/", "-")[: LONGEST - 10]
    if not name:
        return ""
    used = set(Deployment.objects.filter(name__startswith=name).values_list("name", flat=True))
    candidates = (name, *(f"{name}-{number}" for number in range(2, 1000)))
    return next((candidate for candidate in candidates if candidate not in used), "")
