"""Each usual operation of pandas, its result in a file of its name."""

import numpy as np
import pandas as pd

a, b = pd.read_csv("a.csv"), pd.read_csv("b.csv")
made = {
    "filter": a[a.x > 1],
    "query": a.query("x > 1"),
    "loc": a.loc[a.x > 1, ["k", "x"]],
    "iloc": a.iloc[:2],
    "assign": a.assign(z=lambda t: t.x * 2),
    "column": a[["x"]],
    "series": a["x"].to_frame(),
    "arithmetic": (a["x"] + 1).to_frame(),
    "numpy": pd.DataFrame({"x": np.log(a["x"])}),
    "str": a["s"].str.upper().to_frame(),
    "dt": pd.to_datetime(a["d"]).dt.year.to_frame(),
    "cat": a["s"].astype("category").cat.codes.to_frame("c"),
    "groupby": a.groupby("s").agg({"x": "sum"}).reset_index(),
    "transform": a.groupby("s")["x"].transform("mean").to_frame(),
    "apply": a.groupby("s")[["x"]].apply(lambda g: g.head(1)),
    "rolling": a[["x"]].rolling(2).mean(),
    "resample": a.assign(d=pd.to_datetime(a["d"])).set_index("d")[["x"]].resample("D").sum(),
    "pivot": a.pivot_table(index="s", values="x"),
    "melt": a.melt(id_vars="k", value_vars=["x"]),
    "dummies": pd.get_dummies(a["s"]),
    "cut": pd.cut(a["x"], 2).astype(str).to_frame(),
    "sort": a.sort_values("x").head(2),
    "dropna": a.dropna().drop_duplicates().reset_index(drop=True),
    "apply_rows": a[["x"]].apply(lambda row: row * 2, axis=1),
    "map": a["x"].map(lambda v: v + 1).to_frame(),
    "nlargest": a.nlargest(1, "x"),
    "transpose": a[["x"]].T.T,
    "values": pd.DataFrame(a[["x"]].to_numpy(), columns=["x"]),
    "merge": a.merge(b, on="k"),
    "join": a.set_index("k").join(b.set_index("k")[["y"]]).reset_index(),
    "concat": pd.concat([a[["k"]], b[["k"]]]),
    "where": a[["x"]].where(b["y"] > 1, 0),
    "isin": a[a["k"].isin(b["k"])],
    "lookup": a["k"].map(b.set_index("k")["y"]).to_frame(),
    "combine": a[["k"]].combine_first(b[["y"]]),
}
set_item = a[["k"]].copy()
set_item["y"] = b["y"]
made["set_item"] = set_item
set_loc = a[["x"]].copy()
set_loc.loc[set_loc.x > 1, "x"] = b["y"]
made["set_loc"] = set_loc
for _, group in a.groupby("s"):
    made["iterated"] = group
for name, frame in made.items():
    frame.columns = [str(column) for column in frame.columns]
    frame.to_csv(f"{name}.csv", index=False)
