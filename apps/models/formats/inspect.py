"""Looks at the unpacked files of a model: what it is, and what every rule found."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from apps.models.formats import gguf, onnx, safetensors
from apps.models.formats.safetensors import Malformed
from apps.models.models import Format, Level
from apps.models.rules import Blocked, Found, printable

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".h5", ".keras")
"""Suffixes of weights that can run code when they are loaded; a `.bin` that an ONNX graph names is plain data."""
MAX_JSON = 64 * 2**20  # bytes of a configuration or tokenizer file
LICENCE_FILES = re.compile(r"^(LICEN[CS]E|COPYING)(\.\w+)?$", re.IGNORECASE)
TASKS = {
    "ForCausalLM": "text-generation",
    "ForConditionalGeneration": "text2text-generation",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForImageClassification": "image-classification",
}


@dataclass
class Facts:
    """What the files say of the model, the report of the rules, and the files to leave out.

    `data` are files that ONNX graphs keep weights in.
    """

    format: str = ""
    task: str = ""
    architecture: str = ""
    parameter_count: int | None = None
    context_length: int | None = None
    licence: str = ""
    findings: list[Found] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    data: set[str] = field(default_factory=set)
    adapter: dict[str, Any] = field(default_factory=dict)

    def passed(self, rule: str, finding: str) -> None:
        """A rule that found nothing wrong."""
        self.findings.append(Found(rule, Level.PASS, printable(finding)))

    def warn(self, rule: str, finding: str, next_step: str) -> None:
        """A rule that found something to know."""
        self.findings.append(Found(rule, Level.WARN, printable(finding), next_step))


def inspect(folder: Path, paths: list[str]) -> Facts:
    """The facts of the model in `folder`. Blocked where a rule says that it can't be served or isn't safe."""
    facts = Facts()
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
    facts.left_out = [path for path in paths if path.lower().endswith(PICKLES) and path not in facts.data]
    if not facts.format:
        _no_weights(facts.left_out)
    facts.passed("MYI010", f"The weights are in the {Format(facts.format).label} format.")
    if facts.left_out:
        shown = ", ".join(facts.left_out[:5])
        facts.warn("MYI011", f"Left out, because loading them could run code: {shown}.", "Nothing: they aren't needed.")
    _configuration(folder, paths, facts)
    _tokenizer(folder, paths, facts)
    _licence(folder, paths, facts)
    return facts


def _no_weights(left_out: list[str]) -> None:
    if left_out:
        raise Blocked(
            "MYI010",
            f"The only weights ({', '.join(left_out[:5])}) are in a format that can run code when it is loaded.",
            "Convert them to safetensors (save_pretrained of transformers does), ONNX or GGUF, and import again.",
        )
    raise Blocked(
        "MYI010",
        "No weights were found: there is no .onnx, .safetensors or .gguf file.",
        "Put the weights beside config.json, and import again.",
    )


def _onnx(folder: Path, paths: list[str], facts: Facts) -> None:
    for path in paths:
        try:
            graph = onnx.read(folder / path)
            facts.data |= onnx.check_external(graph, folder, path)
        except Malformed as error:
            step = "Export it again (optimum-cli export onnx), with the data files beside it."
            raise Blocked("MYI012", f"{path} can't be used: {error}.", step) from None
        facts.parameter_count = max(facts.parameter_count or 0, graph.parameters)
    facts.passed("MYI012", f"{len(paths)} ONNX graph(s) can be read; external data, if any, lies beside them.")


def _safetensors(folder: Path, paths: list[str], facts: Facts) -> None:
    total = 0
    for path in paths:
        try:
            total += safetensors.parameters(folder / path)
        except Malformed as error:
            raise Blocked("MYI013", f"{path} can't be used: {error}.", "Save it again, or copy it again.") from None
    for path in paths:
        _shards(folder, path)
    facts.parameter_count = facts.parameter_count or total
    facts.passed("MYI013", f"{len(paths)} safetensors file(s) with {total:,} weights are consistent.")


def _shards(folder: Path, path: str) -> None:
    index = folder / PurePosixPath(path).parent / "model.safetensors.index.json"
    if not index.is_file():
        return
    named = _json(index, "MYI013").get("weight_map")
    names = set(named.values()) if isinstance(named, dict) else set()
    missing = [
        str(name) for name in names if not isinstance(name, str) or "/" in name or not (index.parent / name).is_file()
    ]
    if missing:
        raise Blocked(
            "MYI013", f"The index names files that are missing: {', '.join(sorted(missing)[:5])}.", "Add them."
        )


def _gguf(folder: Path, paths: list[str], facts: Facts) -> None:
    for path in paths:
        try:
            header = gguf.read(folder / path)
        except Malformed as error:
            raise Blocked("MYI014", f"{path} can't be used: {error}.", "Download or convert it again.") from None
        facts.architecture, facts.context_length = printable(header.architecture[:128]), header.context_length
        facts.licence, facts.task = header.licence, "text-generation"
    facts.passed("MYI014", f"{len(paths)} GGUF header(s) are consistent.")


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
    if isinstance(config.get("auto_map"), dict) or any(path.endswith(".py") for path in paths):
        step = "It isn't run. Use a model that your runtime supports by itself."
        facts.warn("MYI022", "The model brings code of its own (auto_map or .py files).", step)
    else:
        facts.passed("MYI022", "The model brings no code of its own.")


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
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Blocked(rule, f"{path.name} isn't valid JSON ({str(error)[:100]}).", step) from None
    if not isinstance(value, dict):
        raise Blocked(rule, f"{path.name} isn't a JSON object.", step)
    return value
