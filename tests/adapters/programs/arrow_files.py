"""Readers, writers and datasets of pyarrow, and what is done to tables between them."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.feather
import pyarrow.parquet as pq

a, b = pa.csv.read_csv("a.csv"), pa.csv.read_csv("b.csv")
pq.write_table(a, "one.parquet")
pq.write_table(pq.read_table("one.parquet", columns=["k"]), "two.parquet")
pq.write_table(pa.concat_tables([a.select(["k"]), b.select(["k"])]), "concat.parquet")
pq.write_table(a.join(b, "k"), "join.parquet")
pq.write_table(a.filter(pc.greater(a["x"], 1)), "filter.parquet")
pq.write_table(a.group_by("s").aggregate([("x", "sum")]), "group.parquet")
pq.write_table(a.sort_by("x").slice(0, 2), "sort.parquet")
pq.write_table(a.append_column("y", b["y"]), "append.parquet")
pq.write_table(a.drop_columns(["x"]).rename_columns(["k", "s", "d"]), "drop.parquet")
pa.csv.write_csv(a, "three.csv")
pa.feather.write_feather(a, "four.feather")
pa.csv.write_csv(pa.feather.read_table("four.feather"), "five.csv")
ds.write_dataset(
    a, "parts", format="parquet", partitioning=["s"], existing_data_behavior="overwrite_or_ignore"
)
pq.write_to_dataset(b, "folder", partition_cols=["k"])
pq.write_table(
    ds.dataset("parts", partitioning=["s"]).to_table(filter=ds.field("x") > 1), "six.parquet"
)
pq.write_table(pq.read_table("folder"), "seven.parquet")
pq.write_table(ds.dataset("folder").scanner(columns=["y"]).to_table(), "eight.parquet")
with pq.ParquetWriter("nine.parquet", a.schema) as writer:
    for batch in a.to_batches():
        writer.write_batch(batch)
pq.write_table(pq.ParquetFile("one.parquet").read_row_group(0), "ten.parquet")
pq.write_table(pa.Table.from_pandas(b.to_pandas()), "pandas.parquet")
ds.write_dataset(ds.dataset("folder"), "copied", format="parquet")
pa.csv.write_csv(ds.dataset("copied").to_table(), "eleven.csv")
