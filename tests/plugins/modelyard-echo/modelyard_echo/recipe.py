"""A recipe's process: `python recipe.py name output`. What it writes decides how the engine answers."""

import sys
import time
from pathlib import Path

NAME, OUTPUT = sys.argv[1], Path(sys.argv[2])
print("progress 10 Reading the model", flush=True)
if NAME == "crash":
    (OUTPUT / "half").write_text("half")
    raise SystemExit("echo: the recipe broke on request")
if NAME == "endless":
    (OUTPUT / "half").write_text("half")
    time.sleep(3600)
if NAME != "empty":
    (OUTPUT / NAME).write_text("made by a recipe")
print("progress 100 Written", flush=True)
