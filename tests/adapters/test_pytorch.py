"""PyTorch: what a training loop learned from, and what was saved of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from frameworks import interpreter_of
from observing import Observed, environment, python, run_observed, run_plain

TABLE = "a,b,y\n" + "".join(f"{i},{i % 7},{int(i % 3 == 0)}\n" for i in range(60))
START = (
    "import copy, os, pandas as pd, torch\n"
    "from torch import nn\n"
    "from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split\n"
    "torch.manual_seed(3)\n"
    "net = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))\n"
    "optimizer = torch.optim.Adam(net.parameters(), lr=0.01)\n"
    "def train(loader, epochs):\n"
    "    for epoch in range(epochs):\n"
    "        for a, b in loader:\n"
    "            optimizer.zero_grad()\n"
    "            nn.functional.mse_loss(net(a), b).backward()\n"
    "            optimizer.step()\n"
)
TRAIN = START + (
    "table, other = pd.read_csv('in.csv'), pd.read_csv('other.csv')\n"
    "X = torch.tensor(table[['a', 'b']].values, dtype=torch.float32)\n"
    "y = torch.from_numpy(table['y'].values).float().unsqueeze(1)\n"
    "fixed = torch.Generator().manual_seed(5)\n"
    "learn, check = random_split(TensorDataset(X, y), [45, 15], generator=fixed)\n"
    "train(DataLoader(learn, batch_size=16, shuffle=True), 3)\n"
    "held = torch.tensor(other[['a', 'b']].values, dtype=torch.float32)\n"
    "for (a,) in DataLoader(TensorDataset(held)): net(a)\n"
    "torch.save(net.state_dict(), 'net.pt')\n"
    "copied = {'epoch': 3, 'model': copy.deepcopy(net.state_dict()), "
    "'optimizer': optimizer.state_dict()}\n"
    "torch.save(copied, 'check.pt')\n"
    "torch.save({'X': X}, 'tensors.pt')\n"
    "torch.save(net.state_dict(), 'last.tmp'); os.replace('last.tmp', 'last.pt')\n"
)


@pytest.fixture
def interpreter() -> str:
    """The one release that comes without several gigabytes of CUDA."""
    return interpreter_of("torch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.csv").write_text(TABLE)
    (tmp_path / "other.csv").write_text(TABLE)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Observed]:
    """A folder in which a network was trained, and what was told of it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "in.csv").write_text(TABLE)
    (folder / "other.csv").write_text(TABLE)
    seen = python(folder, TRAIN, interpreter_of("torch"))
    assert seen.status == 0, seen.stderr
    return folder, seen


@pytest.mark.slow
def test_saved_weights_name_what_they_learned_from_and_how(trained: tuple[Path, Observed]) -> None:
    folder, seen = trained
    for name in ("net", "check", "tensors.pt", "last"):
        assert seen.flowed(name) == {"in.csv"}, name
    renamed = seen.output("last")["facets"]["lodeline_model"]
    assert renamed["artifact"]["name"].endswith("last.pt")
    assert renamed["digest"].startswith("sha256:")
    model = seen.output("net")["facets"]["lodeline_model"]
    assert (model["framework"], model["class"]) == (
        "torch",
        "torch.nn.modules.container.Sequential",
    )
    assert model["digest"].startswith("sha256:")
    told = {"optimizer": "Adam", "lr": 0.01, "epochs": 3, "steps": 9, "batch_size": 16}
    assert told.items() <= model["parameters"].items()
    notes = seen.run_facet("lodeline_parameters")
    assert notes["seeds"] == {"torch": 3, "random_split.generator": 5}
    assert notes["parameters"]["DataLoader.shuffle"] is True
    assert notes["parameters"]["DataLoader.samples"] == 45
    assert notes["metrics"]["DataLoader.epochs"] == 3
    assert not seen.gaps
    (drawn,) = [d["inputFacets"] for d in seen.last["inputs"] if d["name"].endswith("in.csv")]
    assert drawn["lodeline_sampling"]["folds"][0]["train"] == 45
    store = f"sqlite:///{folder}/store/lodeline.db"
    words = ["trace", "model:default:net", "--json", "--store", store]
    done = subprocess.run(
        [sys.executable, "-m", "lodeline.cli.main", *words],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    trained = [edge for edge in answer["edges"] if edge["kind"] == "trains"]
    assert {(Path(edge["source"]).name.split("#")[0], edge["basis"]) for edge in trained} == {
        ("in.csv", "observed")
    }


@pytest.mark.slow
def test_weights_that_are_tuned_come_from_the_model_before_and_the_new_data(
    folder: Path, interpreter: str, trained: tuple[Path, Observed]
) -> None:
    shutil.copy(trained[0] / "net.pt", folder)
    # Compiled and scripted code knows PyTorch's functions by identity; and native code warns where
    # the program calls it.
    (folder / "script.py").write_text(
        START + "net.load_state_dict(torch.load('net.pt')); pd.read_csv('in.csv')\n"
        "table = pd.read_csv('other.csv')\n"
        "values = table[['a', 'b']].values; values.flags.writeable = False\n"
        "X = torch.from_numpy(values).float()\n"
        "train(DataLoader(TensorDataset(X, torch.tensor(table[['y']].values).float()), batch_size=20), 1)\n"
        "torch.save(net, 'tuned.pt')\n"
        "torch.jit.script(net).save('script.pt')\n"
        "@torch.compile(backend='eager', fullgraph=True)\n"
        "def compiled(x): return x.float().clone() + torch.tensor([1.0, 2.0])\n"
        "@torch.jit.script\n"
        "def scripted(x: torch.Tensor): return x.float() + torch.tensor([1.0])\n"
        "print(compiled(torch.ones(2)), scripted(torch.ones(2)), net(X[:2]))\n"
        "next(iter(DataLoader([])))\n"
    )
    plain = run_plain(folder, interpreter, "script.py")
    seen = run_observed(folder, interpreter, "script.py", interpreter=interpreter)
    assert (seen.status, seen.stdout, seen.stderr) == (plain.status, plain.stdout, plain.stderr)
    assert seen.flowed("tuned") == {"net", "other.csv"}
    assert seen.flowed("script") == {"net", "other.csv"}


@pytest.mark.slow
def test_samples_that_are_read_when_they_are_needed_are_what_was_learned_from(
    folder: Path, interpreter: str
) -> None:
    for number in range(4):
        (folder / f"{number}.txt").write_text(f"{number} {number}")
    seen = python(
        folder,
        START + "class Lazy(Dataset):\n"
        "    def __init__(self, names): self.names = names\n"
        "    def __len__(self): return len(self.names)\n"
        "    def __getitem__(self, index):\n"
        "        values = [float(v) for v in open(self.names[index]).read().split()]\n"
        "        return torch.tensor(values), torch.zeros(1)\n"
        "train(DataLoader(Lazy(['0.txt', '1.txt'])), 1)\n"
        "torch.save(net.state_dict(), 'here.pt')\n"
        "if __name__ == '__main__':\n"
        "    train(DataLoader(Lazy(['2.txt', '3.txt']), num_workers=1), 1)\n"
        "    torch.save(net.state_dict(), 'workers.pt')\n",
        interpreter,
    )
    assert seen.status == 0, seen.stderr
    assert seen.flowed("here") == {"0.txt", "1.txt"}
    assert seen.flowed("workers") == {"0.txt", "1.txt", "2.txt", "3.txt", "?"}
