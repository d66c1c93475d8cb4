"""What a plugin author fills in."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from modelyard.runtimes import Model, Options, Runtime
from modelyard.runtimes.testing.engine import describe

FORMATS = ("onnx", "safetensors", "gguf")


class Hooks:
    """What the suite asks of a plugin's tests."""

    runtime: ClassVar[Runtime[Any]]
    """An instance of the runtime under test."""
    options: ClassVar[Mapping[str, Any]] = {}
    """The options that its engine is started with; none must work too."""
    recipes: ClassVar[Sequence[str] | None] = None
    """The recipes that are run for real; None: all that it offers for the model."""
    long_text: ClassVar[str] = "Count from one to five hundred in words, one number a line, and leave none out. " * 4
    """What a stream that is cut off is asked for: its answer has to take some seconds."""

    @classmethod
    def model(cls) -> Model:
        """A small real model that the engine can serve; see `describe`."""
        raise NotImplementedError("say which model to serve: return modelyard.runtimes.testing.describe(folder, ...)")

    @classmethod
    def broken_model(cls, folder: Path) -> Model:
        """A model that can't be served, made in this folder: unless overridden, its largest file is cut in half."""
        whole = cls.model()
        broken = folder / "broken"
        shutil.copytree(whole.path, broken)
        largest = max((path for path in broken.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
        largest.chmod(0o600)
        os.truncate(largest, largest.stat().st_size // 2)
        files = describe(broken, format=whole.format).files
        return replace(whole, path=broken, files=files)

    @classmethod
    def foreign_model(cls, folder: Path) -> Model:
        """A model of a format that isn't this runtime's, in this folder."""
        model = cls.model()
        other = next(name for name in FORMATS if name != model.format)
        (folder / f"model.{other}").write_bytes(bytes(64))
        return replace(model, path=folder, format=other, files=describe(folder, format=other).files)

    @classmethod
    def validated(cls) -> Options:
        """The options as the runtime gets them."""
        options: Options = cls.runtime.options.model_validate(dict(cls.options))
        return options
