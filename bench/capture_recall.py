"""Which of the files that a program touches does capture record?

Question: recall of file access against `strace`, over programs written as users write them
(`tests/fixtures/recall`). Capture was changed because of what it missed of `shells`, `descriptors`
and `arrow_ipc`; the first run, before that, recorded 86 of 93 files. Each runs twice on the same
data: as it is under `strace -f`, and under `lodeline run`. A file counts as touched when it was
opened for reading and was there before, or was opened for writing or named and is there afterwards;
as recorded when it is an input, or an output, or lies in a folder that is.

Floor: `strace` itself sees all of them. Beside the recall stands how many of the programs that
missed a file said so by a gap.

    python bench/capture_recall.py [--out bench/results/capture_recall.json]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]


def main() -> None:
    from recalling import PROGRAMS, measure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    programs = []
    for path in sorted(PROGRAMS.glob("*.py")):
        with tempfile.TemporaryDirectory() as place:
            found = measure(path.stem, Path(place))
        programs.append(
            {
                "program": path.stem,
                "touched": found.touched,
                "missed": sorted(found.missed),
                "told_as_gap": bool(found.missed) and found.is_honest,
            }
        )
        print(json.dumps(programs[-1]), file=sys.stderr)
    touched = sum(int(str(one["touched"])) for one in programs)
    missed = [one for one in programs if one["missed"]]
    lost = sum(len(one["missed"]) for one in missed)  # type: ignore[arg-type]
    result = {
        "question": "which of the files that a program touches does capture record?",
        "command": "python bench/capture_recall.py",
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "programs": programs,
        "touched": touched,
        "recorded": touched - lost,
        "recall": round(1 - lost / touched, 4),
        "programs_that_missed": len(missed),
        "of_these_without_a_gap": sum(not one["told_as_gap"] for one in missed),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
