"""`make bench-import`: the import of a large zip of tensors beside `unzip` and `sha256sum` of the same files.

Rounds are interleaved; medians, their ratio and the memory are printed. Everything lies in a folder of its own that is
removed afterwards.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy

ROOT = Path(__file__).resolve().parents[2]
SHARD = 2**30  # bytes of one file
BLOCK = 2**24
ROOM = 4  # times the size that must be free: the zip, both unpacked, and some air
KINDS = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}


def weights(size: int, seed: int) -> Iterator[bytes]:
    """So many bytes as bfloat16 weights have them: normally distributed, so that they compress a little."""
    random = numpy.random.default_rng(seed)
    for start in range(0, size, BLOCK):
        values = random.normal(0, 0.02, min(BLOCK, size - start) // 2).astype(numpy.float32)
        yield (values.view(numpy.uint32) >> 16).astype(numpy.uint16).tobytes()


def shard(size: int, seed: int) -> Iterator[bytes]:
    """A safetensors file with one tensor of so many bytes."""
    header = json.dumps({"w": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    yield struct.pack("<Q", len(header)) + header
    yield from weights(size, seed)


def make(path: Path, size: int, kind: str) -> None:
    """A zip of shards, as a person would make it."""
    with zipfile.ZipFile(path, "w", KINDS[kind], compresslevel=6) as made:
        made.writestr("config.json", json.dumps({"architectures": ["BenchForCausalLM"]}))
        for number, start in enumerate(range(0, size, SHARD)):
            with made.open(f"model-{number:05}.safetensors", "w", force_zip64=True) as entry:
                for block in shard(min(SHARD, size - start), number):
                    entry.write(block)


def peers(path: Path, folder: Path) -> float:
    """Seconds that `unzip` and then `sha256sum` take."""
    began = time.perf_counter()
    subprocess.run(["unzip", "-q", str(path), "-d", str(folder)], check=True)
    files = [str(file) for file in sorted(folder.iterdir())]
    subprocess.run(["sha256sum", *files], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imported(path: Path, folder: Path) -> dict[str, float]:
    """The import in a process of its own, as a worker does it: seconds, and memory in MB before and at most."""
    command = [sys.executable, "-m", "bench.import", "--import", str(path)]
    environment = os.environ | {"MODELYARD_DATA_DIR": str(folder), "MODELYARD_LOG_LEVEL": "ERROR"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one_import(path: Path) -> None:
    """In the child: prepare a database, import, print the figures."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "modelyard.settings"
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    import django

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    from apps.models import pipeline, storage
    from apps.models.models import Model

    model = Model.objects.create(name="bench")
    os.link(path, storage.upload(model.pk))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.perf_counter(), time.process_time()
    pipeline.run(model.pk)
    took, used = time.perf_counter() - began, time.process_time() - cpu
    model.refresh_from_db()
    if model.status != "ready":
        sys.exit(f"the import failed: {model.failure}")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": took, "cpu": used, "before": before / 1024, "most": most / 1024}))


def measure(folder: Path, size: int, kind: str, rounds: int) -> None:
    """One kind of zip: rounds of both, one after the other, and what came out."""
    path = folder / f"{kind}.zip"
    make(path, size, kind)
    theirs, ours = [], []
    print(f"{kind}: {path.stat().st_size / 2**30:.2f} GiB for {size / 2**30:.2f} GiB of tensors …", flush=True)
    for number in range(rounds):
        for who in ("theirs", "ours") if number % 2 else ("ours", "theirs"):
            place = Path(tempfile.mkdtemp(dir=folder))
            os.sync()  # what the round before wrote isn't this one's work
            if who == "ours":
                ours.append(imported(path, place))
            else:
                theirs.append(peers(path, place / "unpacked"))
            shutil.rmtree(place)
    path.unlink()
    mine, other = statistics.median(each["seconds"] for each in ours), statistics.median(theirs)
    cpu = statistics.median(each["cpu"] for each in ours)
    before, most = (max(each[name] for each in ours) for name in ("before", "most"))
    print(
        f"| {kind} | {other:.1f} | {mine:.1f} | {mine / other:.2f} | {cpu:.1f} | {before:.0f} | {most:.0f} |",
        flush=True,
    )


def main() -> None:
    """Make, measure, remove; print."""
    parser = argparse.ArgumentParser(prog="python -m bench.import", description=__doc__)
    parser.add_argument("--gib", type=float, default=5, help="GiB of tensors; 5 unless told")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to work; it needs four times the size")
    parser.add_argument("--import", dest="path", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.path:
        one_import(options.path)
        return
    missing = [name for name in ("unzip", "sha256sum") if not shutil.which(name)]
    if missing:
        sys.exit(f"SKIPPED: {' and '.join(missing)} must be installed to compare with.")
    size = int(options.gib * 2**30) // 2 * 2
    folder = Path(tempfile.mkdtemp(prefix="bench-import-", dir=options.folder))
    try:
        if shutil.disk_usage(folder).free < ROOM * size:
            sys.exit(f"{folder} has too little room: {ROOM * options.gib:.0f} GiB are needed. Say --folder or --gib.")
        print("| zip | unzip + sha256sum s | import s | ratio | import CPU s | MB before | MB at most |", flush=True)
        for kind in KINDS:
            measure(folder, size, kind, options.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
