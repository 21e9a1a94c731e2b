"""Readers, writers, scans and sinks of polars."""

import polars as pl

a = pl.read_csv("a.csv")
la, lb = pl.scan_csv("a.csv"), pl.scan_csv("b.csv")
a.write_parquet("one.parquet")
pl.read_parquet("one.parquet").write_ndjson("two.ndjson")
pl.read_ndjson("two.ndjson").write_ipc("three.arrow")
pl.read_ipc("three.arrow").write_json("four.json")
pl.read_json("four.json").write_csv("five.csv")
la.join(lb, on="k").sink_parquet("sunk.parquet")
la.sink_csv("sunk_csv.csv")
pl.scan_parquet("sunk.parquet").select("k", "y").collect().write_csv("six.csv")
