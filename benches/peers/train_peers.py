#!/usr/bin/env python3
"""Times steps of training beside numpy and PyTorch, in one run: forward, backward and Adam of a
network 784-HIDDEN-10 (relu, softmax cross-entropy) on random bytes.

    benches/peers/train_peers.py [--threads N] [--rounds N] [--batches 32,256] [--hidden 100] [--json]

Needs numpy; PyTorch is timed where it is installed. Builds tensorpress's example train_steps
(TRAIN_STEPS=PATH takes a program that is built). Each program is timed in turn, round after round;
a figure is the best round's.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS, INPUTS, CLASSES = 60_000, 784, 10
# An epoch or so; long enough that starting up does not count.
SECONDS = 2.0


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


def seconds_a_step(peer, batch):
    order = np.random.default_rng(3).permutation(ROWS)
    batches = [order[i : i + batch] for i in range(0, ROWS - batch + 1, batch)]
    for rows in batches[:20]:
        peer.step(rows)
    steps, start = 0, time.perf_counter()
    while True:
        for rows in batches[:100]:
            peer.step(rows)
        steps += len(batches[:100])
        elapsed = time.perf_counter() - start
        if elapsed > SECONDS:
            return elapsed / steps


def program():
    path = os.environ.get("TRAIN_STEPS")
    if path is None:
        build = ["cargo", "build", "--release", "--locked", "--quiet", "--example", "train_steps"]
        subprocess.run(build, cwd=ROOT, check=True)
        target = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
        path = target / "release" / "examples" / "train_steps"
    return str(path)


def our_seconds(path, batch):
    command = [path, "--batch", str(batch), "--seconds", str(SECONDS), "--json"]
    command += ["--hidden", str(HIDDEN)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout)["seconds_a_step"]


def main():
    path = program()
    images, labels = data()
    kinds = [Numpy] + ([Torch] if torch else [])
    rows = []
    for batch in map(int, ARGUMENTS.batches.split(",")):
        best = {}
        for _ in range(ARGUMENTS.rounds):
            figures = {"tensorpress": our_seconds(path, batch)}
            for kind in kinds:
                figures[kind.name] = seconds_a_step(kind(images, labels), batch)
            for name, seconds in figures.items():
                best[name] = min(seconds, best.get(name, seconds))
        for name, seconds in best.items():
            rows.append({"batch": batch, "program": name, "us_a_step": seconds * 1e6,
                         "rows_a_second": batch / seconds,
                         "epoch_seconds": ROWS / batch * seconds})
    if ARGUMENTS.json:
        json.dump({"schema_version": 1, "threads": ARGUMENTS.threads, "results": rows}, sys.stdout)
        return
    print(f"784-{HIDDEN}-10, {ARGUMENTS.threads} threads, best of {ARGUMENTS.rounds}")
    print(f"{'batch':>6} {'program':>12} {'us/step':>9} {'rows/s':>10} {'s/epoch':>8}")
    for row in rows:
        print(f"{row['batch']:>6} {row['program']:>12} {row['us_a_step']:>9.1f} "
              f"{row['rows_a_second']:>10.0f} {row['epoch_seconds']:>8.3f}")


if __name__ == "__main__":
    main()
