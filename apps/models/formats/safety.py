"""What is checked of every model, whatever its weights are: pickles, code, contents, templates, credentials."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from apps.models import credentials, names
from apps.models.formats import contents, documents, pickles, templates
from apps.models.formats.facts import Facts
from apps.models.formats.suffixes import PICKLES
from apps.models.formats.templates import Template
from apps.models.models import Format

CONVERT = "Convert them to safetensors (save_pretrained of transformers does), ONNX or GGUF, and import again."
CODE = (".py", ".pyc", ".so", ".dll", ".dylib", ".pyd", ".exe", ".sh", ".js")
OWN_MODULES = re.compile(r"^sentence_transformers\.")
CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "trust_remote_code"})
OWN_READERS = frozenset({"tokenizer.json", "deployconfig.json"})
"""Documents that are read with bounds of their own, elsewhere."""
SHOWN = 5


def pickled(folder: Path, paths: list[str], facts: Facts) -> None:
    """Leave pickles out, and say what each would import; a model of nothing else is refused, or kept by permission."""
    found: dict[str, str] = {}  # what is said of each, for what was read of very many would fill the memory
    kept: list[str] = []
    for path in facts.policy.each(paths):
        if path.lower().endswith(PICKLES) and path not in facts.data:
            one = pickles.read(folder / path)
            found[path] = one.said()
            kept += [path] if one.allowed else []
    if found and not facts.format:
        _pickles_only(found, kept, facts)
    else:
        kept = []
    allowed = set(kept)
    left_out = [path for path in found if path not in allowed]
    facts.left_out += left_out
    if left_out:
        shown = "; ".join(f"{path} {found[path]}" for path in left_out[:SHOWN])
        more = f"; {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
        said = f"Left out, because loading them could run code: {shown}{more}."
        facts.warn("MYI011", said, "Nothing: they aren't needed.")


def _pickles_only(found: dict[str, str], kept: list[str], facts: Facts) -> None:
    if not kept:
        path, said = next(iter(found.items()))
        facts.block("MYI015", f"The only weights are pickles: {path} {said}.", CONVERT)
    said = f"The only weights ({', '.join(kept[:SHOWN])}) are pickles, a format that can run code when it is loaded."
    facts.block("MYI016", f"{said} Reading them without running them, they would import tensors only.", CONVERT)
    facts.format = Format.PICKLE
    facts.passed("MYI015", f"{len(kept)} pickle(s) would import nothing but what tensors are built from.")


def everything(folder: Path, paths: list[str], facts: Facts) -> None:
    """The rest, for every model. Blocked where a rule says so."""
    contents.no_archives(paths, facts.policy)
    facts.passed("MYI005", "No file is an archive.")
    names.check(paths, facts.policy)
    facts.passed("MYI009", "Every name is possible on every disk.")
    left_out = set(facts.left_out)
    contents.check(folder, [path for path in paths if path not in left_out], facts.data, facts.policy)
    facts.passed("MYI017", "No file is a pickle under another name.")
    facts.passed("MYI018", "Every file is what its name says.")
    code, found = [path for path in paths if path.lower().endswith(CODE)], facts.chat_templates
    count = len(code)
    for path, value in documents.every(folder, [path for path in paths if path not in OWN_READERS], facts.policy):
        for one in _code(path, value):
            code += [one] if len(code) < SHOWN else []
            count += 1
        templates.keep(found, templates.of_document(path, value))
    templates.keep(found, templates.of_files(folder, paths))
    facts.passed("MYI025", "JSON files are bounded, and say everything once.")
    _own_code(code, count, facts)
    _templates(found, facts)
    _credentials(folder, paths, facts)


def _code(path: str, value: Any) -> Iterator[str]:
    """Where a configuration names code of the model's own, however deep."""
    keys = {key for key, inner in documents.walk(value) if key in CODE_KEYS and inner}
    yield from (f"{key} in {path}" for key in sorted(keys))
    if PurePosixPath(path).name == "modules.json" and isinstance(value, list):
        types = (each.get("type") for each in value if isinstance(each, dict))
        yield from (f"{str(one)[:60]} in {path}" for one in types if one and not OWN_MODULES.match(str(one)))


def _own_code(code: list[str], count: int, facts: Facts) -> None:
    if code:
        step = "It isn't run. Use a model that your runtime supports by itself."
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        said = f"The model brings code of its own: {', '.join(code[:SHOWN])}{more}."
        facts.warn("MYI022", said, step)
    else:
        facts.passed("MYI022", "The model brings no code of its own.")


def _templates(found: list[Template], facts: Facts) -> None:
    if not found:
        return
    problems = templates.check(found, facts.policy)
    facts.passed("MYI027", f"{len(found)} chat template(s) stay within the sandbox and its limits.")
    for problem in problems[:SHOWN]:
        facts.warn("MYI028", f"{problem}.", templates.FAILED)
    if not problems:
        facts.passed("MYI028", f"{len(found)} chat template(s) render a conversation.")


def _credentials(folder: Path, paths: list[str], facts: Facts) -> None:
    files = [path for path in paths if credentials.is_kept_for_credentials(path)]
    places: list[str] = []
    count, without = 0, set(files)
    for path in facts.policy.each(paths):
        for line, kind in credentials.found(folder, path) if path not in without else ():
            count += 1
            if count <= SHOWN:
                places.append(f"{kind} in line {line} of {path}")
    known = set(facts.left_out)
    facts.left_out += [path for path in files if path not in known]
    if files or places:
        parts = [f"left out, because such files hold credentials: {', '.join(files[:SHOWN])}"] if files else []
        parts += [f"there seems to be {', '.join(places)}"] if places else []
        more = len(files[SHOWN:]) + count - len(places)
        said = "; ".join(parts) + (f"; {more} more" if more else "")
        step = "Revoke them where they are from: everybody who has the model has them. Then import it without them."
        facts.warn("MYI029", f"{said[:1].upper()}{said[1:]}.", step)
    else:
        facts.passed("MYI029", "The files hold no credentials.")
