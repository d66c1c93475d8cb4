"""Looks at the unpacked files of a model: what it is, and what every rule found."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

from apps.models.formats import documents, gguf, onnx, safetensors, safety, templates, tokenizers
from apps.models.formats.documents import MAX_JSON
from apps.models.formats.facts import Facts
from apps.models.formats.safetensors import Malformed
from apps.models.formats.suffixes import PICKLES
from apps.models.formats.templates import Template
from apps.models.models import Format
from apps.models.rules import Blocked, Policy, printable
from modelyard.language import english

__all__ = ["PICKLES", "Facts", "inspect"]
MAX_SHARD_NAME = 200  # characters
PROJECTOR = "clip"  # what llama.cpp calls the part that reads pictures, a file beside the model's
CUSTOM_SHOWN = 10  # domains of operators
MISSING_SHOWN = 5  # files that an index names
LICENCE_FILES = re.compile(r"^(LICEN[CS]E|COPYING)(\.\w+)?$", re.IGNORECASE)
TOKENIZER_STEP = "Use the tokenizer of the model it was made from."
TASKS = {
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
}


def inspect(folder: Path, paths: list[str], policy: Policy | None = None) -> Facts:
    """The facts of the model in `folder`. Blocked where a rule says that it can't be served or isn't safe."""
    facts = Facts(policy=policy or Policy())
    by_suffix = {
        suffix: [p for p in paths if p.lower().endswith(suffix)] for suffix in (".onnx", ".safetensors", ".gguf")
    }
    readers = {
        Format.ONNX: (_onnx, ".onnx"),
        Format.SAFETENSORS: (_safetensors, ".safetensors"),
        Format.GGUF: (_gguf, ".gguf"),
    }
    for form, (reader, suffix) in readers.items():
        if by_suffix[suffix]:
            reader(folder, by_suffix[suffix], facts)
            facts.format = facts.format or form
    safety.pickled(folder, paths, facts)
    if not facts.format:
        step = "Put the weights beside config.json, and import again."
        raise Blocked("MYI010", "No weights were found: there is no .onnx, .safetensors or .gguf file.", step)
    facts.passed("MYI010", f"The weights are in the {english(Format(facts.format).label)} format.")
    _configuration(folder, paths, facts)
    _tokenizer(folder, paths, facts)
    _licence(folder, paths, facts)
    safety.everything(folder, paths, facts)
    facts.findings += facts.policy.findings
    return facts


def _onnx(folder: Path, paths: list[str], facts: Facts) -> None:
    custom: set[str] = set()
    for path in facts.policy.each(paths):
        try:
            graph = onnx.read(folder / path)
            facts.data |= onnx.check_external(graph, folder, path)
        except Malformed as error:
            step = "Export it again (optimum-cli export onnx), with the data files beside it."
            raise Blocked("MYI012", f"{path} can't be used: {error}.", step) from None
        facts.parameter_count = max(facts.parameter_count or 0, graph.parameters)
        if len(custom) < CUSTOM_SHOWN:
            custom |= graph.custom
    if custom:
        shown = ", ".join(f"{domain[:60]!r}" for domain in sorted(custom)[:CUSTOM_SHOWN])
        step = "It runs only where that library is loaded, which runs its code. Export it with the standard operators."
        facts.warn("MYI024", f"The graph uses operators of {shown}, which a library of somebody's brings.", step)
    else:
        facts.passed("MYI024", "The graph uses operators of known domains only.")
    facts.passed("MYI012", f"{len(paths)} ONNX graph(s) can be read; external data, if any, lies beside them.")


def _safetensors(folder: Path, paths: list[str], facts: Facts) -> None:
    total = 0
    for path in facts.policy.each(paths):
        try:
            total += safetensors.parameters(folder / path)
        except Malformed as error:
            raise Blocked("MYI013", f"{path} can't be used: {error}.", "Save it again, or copy it again.") from None
    for parent in facts.policy.each(sorted({PurePosixPath(path).parent for path in paths})):
        _shards(folder / parent, facts.policy)
    facts.parameter_count = facts.parameter_count or total
    facts.passed("MYI013", f"{len(paths)} safetensors file(s) with {total:,} weights are consistent.")


def _shards(folder: Path, policy: Policy) -> None:
    """Every file that the index of a folder names is there; many tensors name the same."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    named = _json(index, "MYI013").get("weight_map")
    there: set[str] = set()
    missing: set[str] = set()
    for name in policy.each(named.values() if isinstance(named, dict) else ()):
        if isinstance(name, str) and name in there:
            continue
        if _is_beside(index, name):
            there.add(name)
        elif len(missing) < MISSING_SHOWN:
            missing.add(str(name)[:200])
    if missing:
        raise Blocked("MYI013", f"The index names files that are missing: {', '.join(sorted(missing))}.", "Add them.")


def _is_beside(index: Path, name: Any) -> bool:
    """Is it the name of a file in the folder of the index?"""
    if not isinstance(name, str) or "/" in name or "\0" in name or len(name) > MAX_SHARD_NAME:
        return False
    try:
        return (index.parent / name).is_file()
    except (OSError, UnicodeError):
        return False


def _gguf(folder: Path, paths: list[str], facts: Facts) -> None:
    for path in facts.policy.each(paths):
        try:
            header = gguf.read(folder / path)
        except Malformed as error:
            raise Blocked("MYI014", f"{path} can't be used: {error}.", "Download or convert it again.") from None
        _said_by_header(header, facts)
        facts.parameter_count = (facts.parameter_count or 0) + header.parameters or None
        if (facts.parameter_count or 0) >= 2**63:
            step = "Download or convert them again."
            raise Blocked("MYI014", "The files claim more numbers than any file holds.", step)
        found = (Template(f"{key} of {path}", text) for key, text in header.templates.items())
        templates.keep(facts.chat_templates, found)
        if header.vocabulary > tokenizers.MAX_VOCABULARY:
            facts.block("MYI026", f"{path}: its vocabulary has {header.vocabulary} tokens.", TOKENIZER_STEP)
    facts.passed("MYI014", f"{len(paths)} GGUF header(s) are consistent.")


def _said_by_header(header: gguf.Header, facts: Facts) -> None:
    """What one file of a GGUF model says; of shards only the first does."""
    if header.architecture and facts.architecture in {"", PROJECTOR}:
        facts.architecture, facts.context_length = printable(header.architecture[:128]), header.context_length
    facts.licence, facts.task = facts.licence or header.licence, "text-generation"


def _configuration(folder: Path, paths: list[str], facts: Facts) -> None:
    if "config.json" not in paths:
        return
    config = _json(folder / "config.json", "MYI021")
    named = config.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        facts.architecture = printable(named[0][:128])
    length = config.get("max_position_embeddings")
    if type(length) is int and 0 < length < 2**31:
        facts.context_length = length
    facts.task = facts.task or _task(facts.architecture, paths)
    facts.passed("MYI021", "config.json can be read.")


def _task(architecture: str, paths: list[str]) -> str:
    if "modules.json" in paths:
        return "feature-extraction"
    found = [task for suffix, task in TASKS.items() if architecture.endswith(suffix)]
    return found[0] if found else ""


def _tokenizer(folder: Path, paths: list[str], facts: Facts) -> None:
    if "tokenizer.json" not in paths:
        return
    tokenizer = _json(folder / "tokenizer.json", "MYI020")
    if not isinstance(tokenizer.get("model"), dict):
        raise Blocked("MYI020", "tokenizer.json has no tokenizer in it.", "Export the tokenizer again.")
    facts.passed("MYI020", "tokenizer.json can be read.")
    for problem in tokenizers.problems(tokenizer):
        facts.block("MYI026", f"tokenizer.json: {problem}.", TOKENIZER_STEP)
    facts.passed("MYI026", "The tokenizer stays within bounds.")


def _licence(folder: Path, paths: list[str], facts: Facts) -> None:
    facts.licence = printable((_card_licence(folder, paths) or facts.licence)[:128])
    files = [path for path in paths if "/" not in path and LICENCE_FILES.match(path)]
    if not facts.licence and files:
        facts.licence = f"see {files[0]}"[:128]
    if facts.licence:
        facts.passed("MYI023", f"Licence: {facts.licence}.")
    else:
        facts.warn("MYI023", "No licence is stated.", "Find out what you may use the model for.")


def _card_licence(folder: Path, paths: list[str]) -> str:
    """`license:` in the front matter of README.md."""
    if "README.md" not in paths:
        return ""
    with (folder / "README.md").open(encoding="utf-8", errors="replace") as file:
        text = file.read(20_000)
    parts = text.split("---", 2) if text.startswith("---") else []
    found = re.search(r"^licen[cs]e:\s*(\S.*?)\s*$", parts[1], re.MULTILINE) if len(parts) == 3 else None
    return found[1].strip("\"'") if found else ""


def _json(path: Path, rule: str) -> dict[str, Any]:
    step = "Mend or export the file again, then import again."
    if path.stat().st_size > MAX_JSON:
        raise Blocked(rule, f"{path.name} is larger than {MAX_JSON // 2**20} MiB.", step)
    try:
        value = documents.load(path.read_bytes()).value
    except Malformed as error:
        raise Blocked(rule, f"{path.name} isn't valid JSON ({error}).", step) from None
    if not isinstance(value, dict):
        raise Blocked(rule, f"{path.name} isn't a JSON object.", step)
    return value
