"""A deployconfig.json among a model's files: read, and kept for the deploy form. It never fails an import."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apps.models.deployconfig.models import KeptConfig
from apps.models.deployconfig.schema import NAME, VERSION, DeployConfig
from apps.models.formats import Facts
from apps.models.models import Model

MAX_FILE = 4 * 2**20  # bytes
STEP = "Nothing, or write it by the schema and import again; until then the deploy form starts with its usual values."


def take(folder: Path, paths: list[str], facts: Facts) -> DeployConfig | None:
    """The configuration that came with the files, which is left out of them; what is wrong with it is a warning."""
    if NAME not in paths:
        return None
    facts.left_out.append(NAME)
    try:
        config = _read(folder / NAME, facts)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        facts.warn("MYI030", f"{NAME} isn't used: {where}: {first['msg']}."[:300], STEP)
        return None
    except (OSError, ValueError, RecursionError) as error:
        facts.warn("MYI030", f"{NAME} isn't used: it can't be read ({str(error)[:100]}).", STEP)
        return None
    if config is not None:
        facts.passed("MYI030", f"{NAME} can be read; the deploy form starts with it.")
    return config


def _read(path: Path, facts: Facts) -> DeployConfig | None:
    if path.stat().st_size > MAX_FILE:
        raise ValueError(f"it is larger than {MAX_FILE // 2**20} MiB")
    text = path.read_bytes()
    found = json.loads(text, parse_constant=_no_number)
    storable(found)
    said = found.get("version") if isinstance(found, dict) else None
    if isinstance(found, dict) and said != VERSION:
        finding = f"{NAME} isn't used: it is of version {said!s:.20}, and {VERSION} is known here."
        facts.warn("MYI031", finding, "Upgrade Modelyard to read it, or deploy with the form's usual values.")
        return None
    config = DeployConfig.model_validate(found)
    facts.passed("MYI031", f"{NAME} is of version {VERSION}.")
    return config


def storable(value: Any) -> None:
    """ValueError for what no database keeps: a NUL or half a character in a text."""
    if "\\u0000" in json.dumps(value, ensure_ascii=False, allow_nan=False).encode().decode():
        raise ValueError("it has a NUL character in a text")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def keep(model_id: str, config: DeployConfig | None) -> None:
    """Make it the model's own; None takes away what an earlier try kept."""
    KeptConfig.objects.filter(model_id=model_id).delete()
    if config is not None:
        KeptConfig.objects.create(model_id=model_id, content=config.model_dump(mode="json"))


def of(model: Model) -> DeployConfig | None:
    """The configuration that came with a model; None if none did, or if it can't be read any more."""
    kept = KeptConfig.objects.filter(model=model).first()
    try:
        return DeployConfig.model_validate(kept.content) if kept else None
    except ValidationError:
        return None
