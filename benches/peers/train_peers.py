#!/usr/bin/env python3
"""Times an epoch of training beside numpy and PyTorch, in one run: forward, backward and Adam of a
network 784-HIDDEN-10 (relu, softmax cross-entropy) on 60 000 rows of random bytes, shuffled.

    benches/peers/train_peers.py [--threads N] [--rounds N] [--batches 32,256] [--hidden 100] [--json]

Needs numpy; PyTorch is timed where it is installed. Builds tensorpress (TENSORPRESS=PATH takes a
program that is built) and takes the epochs of `tensorpress train`, with its shuffling and metrics.
Each program is timed in turn, round after round; a figure is the best round's. A row is MISSED, and
the script ends with 1, where numpy is faster.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS, INPUTS, CLASSES = 60_000, 784, 10
# Times as long as ours that an epoch of numpy must at least take.
LEAST = 1.0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="32,256")
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


ARGUMENTS = arguments()
HIDDEN = ARGUMENTS.hidden
for library in ("OMP", "OPENBLAS", "MKL", "RAYON"):  # before numpy reads them
    os.environ[f"{library}_NUM_THREADS"] = str(ARGUMENTS.threads)

import numpy as np  # noqa: E402

try:
    import torch
except ImportError:
    torch = None


def data():
    generator = np.random.default_rng(1)
    images = generator.integers(0, 256, (ROWS, INPUTS), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, ROWS)
    return images, labels


def glorot(generator, outputs, inputs):
    limit = np.sqrt(6 / (outputs + inputs))
    return generator.uniform(-limit, limit, (outputs, inputs)).astype(np.float32)


class Numpy:
    """As one would write it: a few lines a layer, results in place where numpy has `out`."""

    name = "numpy"

    def __init__(self, images, labels):
        generator = np.random.default_rng(2)
        self.images, self.labels = images, labels
        self.weights = [
            glorot(generator, HIDDEN, INPUTS),
            np.zeros(HIDDEN, np.float32),
            glorot(generator, CLASSES, HIDDEN),
            np.zeros(CLASSES, np.float32),
        ]
        self.first = [np.zeros_like(w) for w in self.weights]
        self.second = [np.zeros_like(w) for w in self.weights]
        self.number = 0

    def step(self, rows):
        x = self.images[rows].astype(np.float32) / np.float32(255)
        labels = self.labels[rows]
        w1, b1, w2, b2 = self.weights
        z1 = x @ w1.T + b1
        y1 = np.maximum(z1, 0)
        z2 = y1 @ w2.T + b2
        z2 -= z2.max(1, keepdims=True)
        p = np.exp(z2)
        total = p.sum(1, keepdims=True)
        span = np.arange(len(rows))
        self.loss = np.log(total[:, 0]) - z2[span, labels]
        p /= total
        p[span, labels] -= 1
        p /= np.float32(len(rows))
        d1 = (p @ w2) * (z1 > 0)
        gradients = [d1.T @ x, d1.sum(0), p.T @ y1, p.sum(0)]
        self.number += 1
        rate = np.float32(1e-3 * np.sqrt(1 - 0.999**self.number) / (1 - 0.9**self.number))
        for w, m, v, g in zip(self.weights, self.first, self.second, gradients):
            m += (g - m) * np.float32(0.1)
            v += (g * g - v) * np.float32(0.001)
            w -= rate * m / (np.sqrt(v) + np.float32(1e-7))


class Torch:
    name = "torch"

    def __init__(self, images, labels):
        torch.set_num_threads(ARGUMENTS.threads)
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.model = torch.nn.Sequential(
            torch.nn.Linear(INPUTS, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
        )
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def step(self, rows):
        rows = torch.from_numpy(rows)
        x = self.images[rows].to(torch.float32) / 255
        loss = torch.nn.functional.cross_entropy(self.model(x), self.labels[rows])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def seconds_an_epoch(peer, batch):
    """All rows once, in an order of its own; after some steps to warm up."""
    order = np.random.default_rng(3).permutation(ROWS)
    for first in range(0, 20 * batch, batch):
        peer.step(order[first : first + batch])
    start = time.perf_counter()
    order = np.random.default_rng(4).permutation(ROWS)
    for first in range(0, ROWS, batch):
        peer.step(order[first : first + batch])
    return time.perf_counter() - start


def program():
    path = os.environ.get("TENSORPRESS")
    if path is None:
        build = ["cargo", "build", "--release", "--locked", "--quiet", "--bin", "tensorpress"]
        subprocess.run(build, cwd=ROOT, check=True)
        path = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "tensorpress"
    return str(path)


def our_seconds(path, data, batch):
    """The faster of two epochs, as the command reports them; the first is where it warms up."""
    command = [path, "train", "--data", data, "--hidden", HIDDEN, "--batch-size", batch]
    command += ["--epochs", 2, "--device", "cpu", "--quiet", "--json"]
    command += ["--force", "-o", data.with_name("model.safetensors")]
    ran = subprocess.run([str(part) for part in command], check=True, capture_output=True)
    return min(epoch["seconds"] for epoch in json.loads(ran.stdout)["epochs"])


def measure(folder):
    """The best epoch of each program, batch by batch."""
    path, (images, labels) = program(), data()
    file = folder / "data.npz"
    np.savez(file, x_train=images, y_train=labels.astype(np.uint8))
    kinds = [Numpy] + ([Torch] if torch else [])
    found = {}
    for batch in map(int, ARGUMENTS.batches.split(",")):
        best = found[batch] = {}
        for _ in range(ARGUMENTS.rounds):
            figures = {"tensorpress": our_seconds(path, file, batch)}
            for kind in kinds:
                figures[kind.name] = seconds_an_epoch(kind(images, labels), batch)
            for name, seconds in figures.items():
                best[name] = min(seconds, best.get(name, seconds))
    return found


def main():
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder))
    rows = []
    for batch, best in found.items():
        for name, seconds in best.items():
            times = seconds / best["tensorpress"]
            limit = LEAST if name == "numpy" else None
            rows.append({"batch": batch, "program": name, "epoch_seconds": seconds,
                         "us_a_step": seconds * 1e6 / -(-ROWS // batch),
                         "rows_a_second": ROWS / seconds, "times_slower": times, "limit": limit,
                         "missed": limit is not None and times < limit})
    missed = any(row["missed"] for row in rows)
    if ARGUMENTS.json:
        json.dump({"schema_version": 2, "threads": ARGUMENTS.threads, "results": rows}, sys.stdout)
        return missed
    versions = f"numpy {np.__version__}" + (f", PyTorch {torch.__version__}" if torch else "")
    print(f"784-{HIDDEN}-10, {ARGUMENTS.threads} threads, best of {ARGUMENTS.rounds}; {versions}")
    print(f"{'batch':>6} {'program':>12} {'s/epoch':>8} {'us/step':>9} {'rows/s':>10} "
          f"{'times ours':>10}")
    for row in rows:
        held = f"  at least {row['limit']}" if row["limit"] else ""
        held += "  MISSED" if row["missed"] else ""
        print(f"{row['batch']:>6} {row['program']:>12} {row['epoch_seconds']:>8.3f} "
              f"{row['us_a_step']:>9.1f} {row['rows_a_second']:>10.0f} {row['times_slower']:>10.2f}"
              f"{held}")
    return missed


if __name__ == "__main__":
    sys.exit(main())
