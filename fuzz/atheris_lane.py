"""`python -m fuzz.atheris_lane TARGET CORPUS SECONDS`: coverage leads the way; the readers are instrumented."""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["apps.models", "zipfile", "pickletools"]):
    from fuzz.process import ready

    ready()
    from fuzz import seeds, targets


LONGEST = (
    96 * 1024
)  # bytes of an input: more than the tail in which a zip's end is looked for; short ones are tried first


def main() -> None:
    """Until the time is over, or an input breaks the target: it lies in the corpus's folder then."""
    name, corpus, seconds = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds.of(name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    box = Path(tempfile.mkdtemp())
    bounds = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", "-timeout=20", "-rss_limit_mb=2048"]
    said = [f"-artifact_prefix={corpus}/", "-verbosity=0", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *bounds, *said, str(corpus)], lambda data: targets.run(name, box, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
