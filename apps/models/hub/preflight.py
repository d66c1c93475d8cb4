"""Looks at a repository before anything of it is downloaded."""

import json
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
from django.conf import settings
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status  # type: ignore[attr-defined]

from apps.models import blobs, names
from apps.models.adapters.reading import CONFIG, Adapter, is_adapter, parse
from apps.models.archive import FREE_RESERVE, MAX_ENTRIES
from apps.models.bundles.manifest import inside
from apps.models.hub import vault
from apps.models.hub.choosing import RemoteFile, Variant, chosen, variants
from apps.models.hub.failures import NETWORK, problem
from apps.models.hub.models import Connection
from apps.models.rules import Blocked
from modelyard.problems import Problem

REPOSITORY = re.compile(r"^[\w][\w.-]{0,95}(/[\w][\w.-]{0,95})?$", re.ASCII)
ANSWER_SECONDS = 15.0
SMALL = 2**20  # bytes of a configuration file that is read before the download
SMALL_FILES = 12
MAX_PATTERNS, MAX_PATTERN = 50, 200
MAX_FILE_NAME = 255  # bytes of each part of a path, as file systems have it
NOT_UNDERSTOOD = (
    HfHubHTTPError, *NETWORK, httpx2.RequestError, httpx2.InvalidURL, OSError, ValueError, TypeError, AttributeError,
    LookupError,
)  # fmt: skip
"""What asking may end in: no answer, a refusal, or JSON of another shape, from something that isn't a hub."""
constants.HF_HUB_DISABLE_TELEMETRY = True  # a look tells the hub nothing of this machine, and writes nothing at home


@dataclass(frozen=True)
class Asked:
    """What somebody wants: `variant` is the key of one of `Preflight.variants`, `patterns` choose files instead."""

    repository: str
    revision: str = ""
    connection: Connection | None = None
    variant: str = ""
    patterns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preflight:
    """What a download would bring. Sizes in bytes; `here`: stored already; `blocks` are reasons to not begin."""

    asked: Asked
    repository: str
    commit: str
    files: tuple[RemoteFile, ...]
    taken: tuple[RemoteFile, ...]
    variants: tuple[Variant, ...]
    variant: Variant | None
    free: int
    task: str = ""
    licence: str = ""
    architecture: str = ""
    library: str = ""
    parameters: int | None = None
    context_length: int | None = None
    gated: bool = False
    private: bool = False
    here: int = 0
    adapter: Adapter | None = None
    blocks: tuple[Problem, ...] = ()
    texts: dict[str, bytes] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Bytes of all files that are taken."""
        return sum(file.size for file in self.taken)

    @property
    def added(self) -> int:
        """Bytes of disk that they will take: what another model or revision has is linked."""
        return self.total - self.here

    @property
    def needed(self) -> int:
        """Bytes of disk that must be free."""
        return self.added + FREE_RESERVE

    @property
    def short_name(self) -> str:
        """The name without its owner."""
        return self.repository.rsplit("/", 1)[-1]

    @property
    def page(self) -> str:
        """The repository's page at the hub, for people."""
        return f"{settings.HUB_ENDPOINT}/{self.repository}"


def token_of(connection: Connection | None) -> str | bool:
    """What `huggingface_hub` takes: the token, or False for none (never one that lies about on this machine)."""
    if connection is None:
        return False
    try:
        return vault.unseal(connection.token)
    except vault.Sealed:
        raise Problem(
            "hub_sealed",
            f"The token of {connection.name} can't be decrypted: the installation's secret key has changed.",
            "Replace the connection's token, or bring the old key back in MODELYARD_SECRET_KEY_FALLBACKS.",
        ) from None


def look(asked: Asked) -> Preflight:
    """Ask the hub. A Problem that tells apart what may be wrong, and what to do."""
    asked = _checked(asked)
    token, endpoint = token_of(asked.connection), settings.HUB_ENDPOINT
    try:
        info = HfApi(endpoint=endpoint, token=token).model_info(
            asked.repository, revision=asked.revision or None, files_metadata=True, timeout=ANSWER_SECONDS
        )
        found = _read(asked, info)
        if found.blocks:
            return found
        _may_read(found, token)
        return _as_adapter(replace(found, texts=_texts(found, token)))
    except NOT_UNDERSTOOD as error:
        raise problem(error, endpoint, asked.repository, asked.revision, known=bool(token)) from None


def whoami(connection: Connection) -> str:
    """The account of a connection's token. A Problem if the hub doesn't take it."""
    token, endpoint = token_of(connection), settings.HUB_ENDPOINT
    headers, url = build_hf_headers(token=token), f"{endpoint}/api/whoami-v2"
    try:
        # Not by the client's own method, which waits without end.
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=ANSWER_SECONDS) as answer:
            hf_raise_for_status(answer)
            found = json.loads(_within(answer.iter_bytes()) or b"")
        return str(found["name"])[:128]
    except NOT_UNDERSTOOD as error:
        raise problem(error, endpoint, "", known=True) from None


def _checked(asked: Asked) -> Asked:
    repository = asked.repository.strip().removeprefix("https://huggingface.co/").removeprefix(settings.HUB_ENDPOINT)
    repository = repository.strip("/").split("/tree/")[0]
    if not REPOSITORY.match(repository) or "--" in repository or ".." in repository:
        raise Problem("hub_invalid", f"{repository[:100]!r} is no name of a repository.",
                      "Write it as owner/name, as in its address.", status=400)  # fmt: skip
    if len(asked.revision) > 200 or not asked.revision.isprintable():
        raise Problem("hub_no_revision", "That is no revision.", "Give a branch, a tag or a commit.", status=400)
    patterns = tuple(dict.fromkeys(pattern.strip() for pattern in asked.patterns if pattern.strip()))
    if len(patterns) > MAX_PATTERNS or any(len(pattern) > MAX_PATTERN for pattern in patterns):
        step = f"At most {MAX_PATTERNS} patterns of {MAX_PATTERN} characters."
        raise Problem("hub_patterns", "There are too many patterns, or one is too long.", step, status=400)
    return replace(asked, repository=repository, revision=asked.revision.strip(), patterns=patterns)


def _read(asked: Asked, info: Any) -> Preflight:
    files = tuple(_file(each) for each in info.siblings or ())
    offered = variants(files)
    variant = next((each for each in offered if each.key == asked.variant), offered[0] if offered else None)
    if asked.variant and (variant is None or variant.key != asked.variant):
        names = ", ".join(each.key for each in offered[:12]) or "none"
        raise Problem(
            "hub_no_variant", f"{info.id} has no variant {asked.variant[:100]!r}.", f"It has: {names}.", status=400
        )
    taken = tuple(chosen(files, variant, asked.patterns))
    config = info.config if isinstance(info.config, dict) else {}
    card = info.card_data.to_dict() if info.card_data else {}
    free = shutil.disk_usage(settings.MODELS_DIR).free
    found = Preflight(
        asked, info.id, str(info.sha or ""), files, taken, tuple(offered), None if asked.patterns else variant, free,
        task=str(info.pipeline_tag or "")[:64], licence=_licence(card), library=str(info.library_name or "")[:64],
        architecture=str(next(iter(config.get("architectures") or []), ""))[:128],
        parameters=_parameters(info), context_length=_number((info.gguf or {}).get("context_length")),
        gated=bool(info.gated), private=bool(info.private),
        here=sum(file.size for file in taken if blobs.has(file.sha256, file.size)),
    )  # fmt: skip
    return replace(found, blocks=tuple(_blocks(found)))


def _file(sibling: Any) -> RemoteFile:
    lfs = sibling.lfs
    return RemoteFile(
        sibling.rfilename,
        int(sibling.size or 0),
        str(lfs.sha256) if lfs else "",
        str(sibling.blob_id or "") if not lfs else "",
    )


def _licence(card: dict[str, Any]) -> str:
    named = card.get("license_name") if card.get("license") == "other" else card.get("license")
    return str(named[0] if isinstance(named, list) and named else named or "")[:128]


def _parameters(info: Any) -> int | None:
    if info.safetensors and info.safetensors.total:
        return int(info.safetensors.total)
    return _number((info.gguf or {}).get("total"))


def _number(value: Any) -> int | None:
    return int(value) if isinstance(value, int) and value > 0 else None


def _blocks(found: Preflight) -> list[Problem]:
    """Why there is no sense in beginning."""
    blocks = []
    if not found.taken and found.asked.patterns:
        step = "Look at the list of files, and at the spelling of the patterns."
        blocks.append(Problem("hub_nothing", "No file matches the patterns.", step))
    elif found.variant is None and not found.asked.patterns:
        pickles = [file.path for file in found.files if file.path.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5"))]
        why = (
            f" Its weights ({', '.join(pickles[:3])}) are in formats that can run code when they are loaded."
            if pickles
            else ""
        )
        step = "Look for a conversion of it to safetensors, ONNX or GGUF; the hub's own page often names some."
        blocks.append(Problem("hub_no_weights", f"It has no weights that can be served.{why}", step))
    elif not any(file.path.endswith((".safetensors", ".onnx", ".gguf")) for file in found.taken):
        step = "Add the weights to the patterns, for example *.safetensors."
        blocks.append(Problem("hub_no_weights", "None of the files that are taken is weights.", step))
    blocks += _unfit(found)
    return blocks


def _unfit(found: Preflight) -> list[Problem]:
    """What no disk or file system here takes."""
    blocks = []
    for file in found.taken:
        try:
            inside(file.path)
        except ValueError as error:
            shown = file.path[:80].encode("unicode_escape").decode()
            said = f"The file name {shown} isn't safe: {error}."
            blocks.append(Problem("hub_names", said, "Leave it out by patterns."))
        if any(len(part.encode()) > MAX_FILE_NAME for part in file.path.split("/")):
            said = f"The file name {file.path[:80]}… is too long for most disks."
            blocks.append(Problem("hub_names", said, "Leave it out by patterns."))
        if file.size > constants.MAX_HTTP_DOWNLOAD_SIZE:
            said = f"{file.path[:200]} has {file.size / 1e9:.1f} GB; plain downloads from the hub end at 50 GB a file."
            step = "Choose another variant, or one in smaller shards; or bring it as a bundle."
            blocks.append(Problem("hub_file_size", said, step))
    if double := names.double([file.path for file in found.taken]):
        said = f"{double[:80]} is one name with another one on many disks (capitals, accents)."
        blocks.append(Problem("hub_names", said, "Leave one of them out by patterns."))
    if len(found.taken) > MAX_ENTRIES:
        blocks.append(Problem("hub_names", f"It has {len(found.taken)} files.", f"{MAX_ENTRIES} are allowed."))
    if found.total > settings.MAX_UNPACKED_BYTES:
        step = "Choose another variant, or ask the operator to raise MODELYARD_MAX_UNPACKED_BYTES."
        blocks.append(Problem("too_large", f"It is larger than the {settings.MAX_UNPACKED_BYTES} bytes allowed.", step))
    elif found.needed > found.free:
        said = f"It needs {found.needed / 2**30:.1f} GiB of disk, and {found.free / 2**30:.1f} GiB are free."
        blocks.append(Problem("disk", said, "Free some space in the data directory, or choose a smaller variant."))
    return blocks


def _may_read(found: Preflight, token: str | bool) -> None:
    """A gated repository shows its list to everybody, and its files only to those who may have them."""
    smallest = min(found.taken, key=lambda file: file.size)
    url = hf_hub_url(found.repository, smallest.path, revision=found.commit, endpoint=settings.HUB_ENDPOINT)
    try:
        get_hf_file_metadata(url, token=token, timeout=ANSWER_SECONDS, endpoint=settings.HUB_ENDPOINT)
    except GatedRepoError:
        raise
    except HfHubHTTPError as error:
        if found.gated and error.response.status_code in {401, 403}:
            raise GatedRepoError(str(error), response=error.response) from None
        raise


def _texts(found: Preflight, token: str | bool) -> dict[str, bytes]:
    """The small configuration files, from which runtimes say whether they can serve the model."""
    wanted = [
        f for f in found.taken if f.path.endswith((".json", ".jinja")) and f.size <= SMALL and f.path.count("/") < 2
    ]
    texts = {}
    for file in sorted(wanted, key=lambda file: (file.path.count("/"), file.size))[:SMALL_FILES]:
        url = hf_hub_url(found.repository, file.path, revision=found.commit, endpoint=settings.HUB_ENDPOINT)
        headers = build_hf_headers(token=token)
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=ANSWER_SECONDS) as answer:
            text = _within(answer.iter_bytes()) if answer.status_code == 200 else None
        if text is not None:
            texts[file.path] = text
    return texts


def _within(pieces: Iterable[bytes]) -> bytes | None:
    """All of them; None if there is more than the hub's list of files said."""
    text, until = bytearray(), time.monotonic() + ANSWER_SECONDS
    for piece in pieces:
        text += piece
        if len(text) > SMALL:
            return None
        if time.monotonic() > until:
            raise TimeoutError(f"its answer lasted longer than {ANSWER_SECONDS:.0f} s")
    return bytes(text)


def _as_adapter(found: Preflight) -> Preflight:
    """With what an adapter says of itself, if it is one; blocked if nothing here serves its kind."""
    if CONFIG not in found.texts or not is_adapter([file.path for file in found.taken]):
        return found
    try:
        return replace(found, adapter=parse(found.texts[CONFIG]))
    except Blocked as blocked:
        problem = Problem("hub_adapter", blocked.found.finding, blocked.found.next_step)
        return replace(found, blocks=(*found.blocks, problem))


def folder_of(found: Preflight, folder: Path) -> None:
    """Write the small files where a runtime looks for them; the others are there by name only."""
    for file in found.taken:
        path = folder / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found.texts.get(file.path, b""))
