"""Readers and writers of pandas."""

import io

import pandas as pd

a, b = pd.read_csv("a.csv"), pd.read_csv("b.csv")
a.to_csv("one.csv", index=False)
pd.read_csv("one.csv").to_parquet("two.parquet")
pd.read_parquet("two.parquet", columns=["k", "x"]).to_json(
    "three.json", orient="records", lines=True
)
pd.read_json("three.json", orient="records", lines=True).to_feather("four.feather")
pd.read_feather("four.feather").to_pickle("five.pkl")
pd.read_pickle("five.pkl").to_html("six.html")
with open("seven.csv", "w") as file:
    a.to_csv(file, index=False)
    b.to_csv(file, index=False)
with open("a.csv") as file:
    pd.read_csv(file).to_csv("eight.csv.gz", index=False)
for chunk in pd.read_csv("b.csv", chunksize=2):
    chunk.to_csv("nine.csv", mode="a", header=False, index=False)
pd.read_csv("b.csv", iterator=True).get_chunk(1).to_csv("ten.csv", index=False)
pd.read_csv(io.StringIO("k\n1\n")).to_csv("eleven.csv", index=False)
a.to_parquet("parts", partition_cols=["s"])
pd.read_parquet("parts").to_csv("twelve.csv")
