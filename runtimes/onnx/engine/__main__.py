"""Starts the engine by its folder's path: `python .../onnx/engine --folder ...`; or a recipe: `... optimize ...`."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path

PACKAGE = "modelyard_onnx"


def load_package() -> None:
    """The folder becomes a package of its own name, so that no file in or beside it can shadow an installed module."""
    folder = Path(__file__).resolve().parent
    sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"{folder} is not the engine's folder")
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load_package()
    if sys.argv[1:2] == ["optimize"]:
        status = importlib.import_module(f"{PACKAGE}.optimizing").main(sys.argv[2:])
    else:
        status = importlib.import_module(f"{PACKAGE}.start").main()
    sys.stdout.flush()
    sys.stderr.flush()
    # an abandoned inference may still run in a thread; tearing the interpreter down under it would crash
    os._exit(status)
