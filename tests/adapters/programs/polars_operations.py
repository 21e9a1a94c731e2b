"""Each usual operation of polars, eager and lazy, its result in a file of its name."""

import polars as pl

a, b = pl.read_csv("a.csv"), pl.read_csv("b.csv")
la, lb = pl.scan_csv("a.csv"), pl.scan_csv("b.csv")
made = {
    "filter": a.filter(pl.col("x") > 1),
    "select": a.select("k", pl.col("x") * 2),
    "with_columns": a.with_columns((pl.col("x") * 2).alias("z")),
    "group_by": a.group_by("s", maintain_order=True).agg(pl.col("x").sum()),
    "join": a.join(b, on="k"),
    "concat": pl.concat([a.select("k"), b.select("k")]),
    "hstack": a.select("x").hstack([b["y"]]),
    "series": a["x"].to_frame(),
    "item": a[["k", "x"]],
    "slice": a[:2],
    "arithmetic": (a["x"] + b["y"]).to_frame("z"),
    "pivot": a.pivot(on="s", index="k", values="x"),
    "unpivot": a.unpivot(on=["x"], index="k"),
    "over": a.with_columns(pl.col("x").sum().over("s").alias("t")),
    "map": a.with_columns(pl.col("x").map_batches(lambda v: v * 2, return_dtype=pl.Float64)),
    "pandas": pl.from_pandas(a.to_pandas()),
    "arrow": pl.from_arrow(a.to_arrow()),
    "sort": a.sort("x").head(2).unique(maintain_order=True),
    "semi": a.join(b, on="k", how="semi"),
    "series_in_expression": a.with_columns(z=b["y"]),
    "lazy": la.filter(pl.col("x") > 1).collect(),
    "lazy_join": la.join(lb, on="k").group_by("s").agg(pl.col("y").sum()).collect(),
    "from_eager": a.lazy().with_columns(z=1).collect(),
    "partitioned": a.partition_by("s")[0],
    "sql": pl.SQLContext(a=la, b=lb, eager=True).execute(
        "SELECT a.k, b.y FROM a JOIN b ON a.k = b.k"
    ),
    "lazy_sql": pl.SQLContext({"a": la, "b": lb})
    .execute("SELECT x, y FROM a JOIN b ON a.k = b.k")
    .collect(),
    "sql_method": a.sql("SELECT k FROM self"),
    "collected": pl.collect_all([la, lb])[1],
}
for _, group in a.group_by("s", maintain_order=True):
    made["iterated"] = group
for name, frame in made.items():
    frame.write_csv(f"{name}.csv")
