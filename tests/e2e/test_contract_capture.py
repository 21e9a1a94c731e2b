"""`lodeline run` and the SDK on ordinary programs, from outside."""

from __future__ import annotations

import hashlib
import signal

from black_box import Shell, edges, ids

ETL = """
import pandas as pd
orders = pd.read_csv("orders.csv")
unused = 3
big = orders[orders.amount > 10]
big.to_parquet("big.parquet")
print("done", len(big))
"""

TRAIN = """
import joblib, pandas as pd
from sklearn.linear_model import LogisticRegression
frame = pd.read_parquet("big.parquet")
model = LogisticRegression(C=0.5, random_state=0).fit(frame[["amount", "n"]], frame["late"])
joblib.dump(model, "churn.joblib")
"""


def orders(shell: Shell) -> None:
    lines = [f"{i},{i % 50},{i % 7},{int(i % 3 == 0)}" for i in range(500)]
    shell.write("orders.csv", "id,amount,n,late\n" + "\n".join(lines) + "\n")


def file_id(shell: Shell, name: str) -> str:
    return f"dataset:file:{shell.folder / name}"


def test_an_ordinary_script_is_traced_from_model_to_csv(shell: Shell) -> None:
    orders(shell)
    shell.write("etl.py", ETL)
    shell.write("train.py", TRAIN)
    done = shell.run("run", "--", "python", "etl.py")
    assert (done.returncode, done.stdout) == (0, "done 390\n"), done.stderr
    assert shell.run("run", "--", "python", "train.py").returncode == 0
    up = shell.json("trace", file_id(shell, "big.parquet"))
    assert (file_id(shell, "orders.csv"), file_id(shell, "big.parquet")) in edges(up)
    assert {e["basis"] for e in up["edges"] if e["kind"] == "derives"} <= {
        "observed",
        "columnLineage",
    }
    model = shell.json("search", "churn")["results"]
    model_id = next(hit["id"] for hit in model if hit["kind"] == "model")
    traced = shell.json("trace", model_id)
    assert file_id(shell, "big.parquet") in {n.partition("#")[0] for n in ids(traced)}
    assert file_id(shell, "orders.csv") in {n.partition("#")[0] for n in ids(traced)}
    assert {e["kind"] for e in traced["edges"]} >= {"trains", "derives", "reads", "writes"}


def test_versions_are_digests_of_all_bytes(shell: Shell) -> None:
    orders(shell)
    shell.write("etl.py", ETL)
    shell.run("run", "--", "python", "etl.py")
    for name in ("orders.csv", "big.parquet"):
        digest = hashlib.sha256((shell.folder / name).read_bytes()).hexdigest()
        answer = shell.json("trace", f"{file_id(shell, name)}#sha256:{digest}", "--both")
        assert f"{file_id(shell, name)}#sha256:{digest}" in ids(answer)


def test_a_child_keeps_its_status_and_signals(shell: Shell) -> None:
    shell.write("exit.py", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    done = shell.run("run", "--", "python", "exit.py")
    assert (done.returncode, done.stdout) == (7, "out\n")
    assert "err" in done.stderr
    shell.write("die.py", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert shell.run("run", "--", "python", "die.py").returncode == 128 + signal.SIGKILL
    assert shell.run("run", "--", "no-such-program-here").returncode in {125, 127}
    shell.write("hard.py", "import os; os._exit(3)")
    assert shell.run("run", "--", "python", "hard.py").returncode == 3
    runs = shell.json("search", "die.py")
    assert any(hit["kind"] == "job" for hit in runs["results"])


def test_an_unwritable_store_does_not_harm_the_program(shell: Shell) -> None:
    orders(shell)
    shell.write("etl.py", ETL)
    done = shell.run(
        "run", "--", "python", "etl.py", LODELINE_STORE="sqlite:////proc/nowhere/lodeline.db"
    )
    assert (done.returncode, done.stdout) == (0, "done 390\n")


def test_the_sdk_records_what_it_is_told(shell: Shell) -> None:
    orders(shell)
    shell.write(
        "sdk.py",
        """
import lodeline
with lodeline.run("train-churn", namespace="ml") as run:
    run.reads("warehouse.orders")
    run.writes("warehouse.scores")
    run.param("depth", 6)
    run.metric("auc", 0.91)
print(lodeline.flush(timeout=20))
""",
    )
    done = shell.run_python("sdk.py")
    assert done.returncode == 0, done.stderr
    flushed = eval(done.stdout.strip().splitlines()[-1])
    assert set(flushed) == {"durable", "delivered", "lost"}
    assert flushed["lost"] == 0
    jobs = shell.json("search", "train-churn")["results"]
    job = next(hit["id"] for hit in jobs if hit["kind"] == "job")
    assert job == "job:ml:train-churn"
    down = shell.json("trace", job, "--both")
    assert len(ids(down, kind="dataset")) == 2


def test_observed_secrets_stay_where_they_are(shell: Shell) -> None:
    shell.write("s.py", "open('out.txt','w').write('x')")
    shell.run(
        "run",
        "--",
        "python",
        "s.py",
        AWS_SECRET_ACCESS_KEY="hunter2hunter2",
        DATABASE_PASSWORD="swordfish-9",
    )
    exported = shell.run("export", "--format", "openlineage").stdout
    assert exported
    assert "hunter2" not in exported
    assert "swordfish-9" not in exported


def test_two_programs_share_one_store(shell: Shell) -> None:
    import subprocess
    import sys

    for i in range(4):
        shell.write(
            f"p{i}.py",
            f"open('in{i}.txt','w').write('a')\nopen('out{i}.txt','w').write(open('in{i}.txt').read())",
        )
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "lodeline", "run", "--", "python", f"p{i}.py"],
            cwd=shell.folder,
            env=shell.environment,
        )
        for i in range(4)
    ]
    assert [child.wait(120) for child in children] == [0, 0, 0, 0]
    assert shell.json("verify")["ok"] is True
    for i in range(4):
        assert shell.json("trace", file_id(shell, f"out{i}.txt"))["nodes"]
