#!/usr/bin/env python3
"""What `tensorpress compress --quantize int4` does, in straightforward vectorised numpy.

The yardstick of scripts/bench-large: every step is one numpy expression over a whole tensor, as a
competent user would write it, and the output holds the same bytes (`--self-test` checks that
against files that compressed-tensors wrote). f32 weights, symmetric, groups.

    numpy_compress.py IN OUT [--sparsity S] [--group 128]
    numpy_compress.py --self-test [tests/golden]
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file


def prune(weight, sparsity):
    """Zeros round(n * sparsity) weights, smallest magnitudes first; of ties the lower index stays."""
    flat = weight.ravel()
    count = round(flat.size * sparsity)  # Python rounds half to even
    if count == 0:
        return weight
    magnitude = np.abs(flat)
    cut = np.partition(magnitude, count - 1)[count - 1]
    below = magnitude < cut
    ties = np.flatnonzero(magnitude == cut)
    pruned = np.where(below, np.float32(0), flat)
    pruned[ties[len(ties) - (count - np.count_nonzero(below)) :]] = 0
    return pruned.reshape(weight.shape)


def quantize(weight, group):
    """int4 codes in -8 ... 7 and a scale a group: absmax / 7.5 (compressed-tensors)."""
    rows, cols = weight.shape
    groups = weight.reshape(rows, cols // group, group)
    scale = np.abs(groups).max(axis=2) / np.float32(7.5)
    scale = np.where(scale == 0, np.finfo(np.float32).eps, scale).astype(np.float32)
    codes = np.rint(np.clip(groups / scale[:, :, None], -8, 7)).astype(np.int8)
    return codes.reshape(rows, cols), scale


def pack(codes):
    """Eight codes a word, the first in the lowest bits, each + 8."""
    unsigned = (codes + np.int8(8)).astype(np.uint32)
    rows, cols = unsigned.shape
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    words = np.bitwise_or.reduce(unsigned.reshape(rows, cols // 8, 8) << shifts, axis=2)
    return words.view(np.int32)


def compress(weight, group, sparsity):
    if sparsity is not None:
        weight = prune(weight, sparsity)
    codes, scale = quantize(weight, group)
    return pack(codes), scale


def compress_file(source, target, group, sparsity):
    start = time.perf_counter()
    output = {}
    for name, weight in load_file(source).items():
        if weight.ndim != 2 or not name.endswith(".weight"):
            output[name] = weight
            continue
        packed, scale = compress(weight, group, sparsity)
        output[f"{name}_packed"] = packed
        output[f"{name}_scale"] = scale
        output[f"{name}_shape"] = np.array(weight.shape, dtype=np.int64)
    save_file(output, target)
    return time.perf_counter() - start


def check_golden(golden, scheme, group, weight, name):
    """The file that is written for a weight, against the one that compressed-tensors wrote."""
    expected = load_file(golden / f"ct_{scheme}__{name}.safetensors")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
        save_file({"layer.weight": weight}, source)
        compress_file(source, target, group, None)
        written = load_file(target)
    parts = ("weight_packed", "weight_scale", "weight_shape")
    assert sorted(written) == [f"layer.{part}" for part in parts], (scheme, name, sorted(written))
    for part in parts:
        a, b = written[f"layer.{part}"], expected[part]
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        assert same, (scheme, name, part)


def check_pruned(weight, sparsity):
    """Which weights become zero, against a plain sort by magnitude and then the higher index."""
    flat = weight.ravel()
    order = np.lexsort((-np.arange(flat.size), np.abs(flat)))
    expected = flat.copy()
    expected[order[: round(flat.size * sparsity)]] = 0
    assert prune(weight, sparsity).tobytes() == expected.tobytes(), sparsity


def self_test(golden):
    with safe_open(golden / "inputs.safetensors", "numpy") as inputs:
        weights = {name: inputs.get_tensor(name) for name in ("w_gauss", "w_edge")}
    for scheme, group in (("W4A16_g128", 128), ("W4_g32_sym", 32)):
        for name, weight in weights.items():
            check_golden(golden, scheme, group, weight, name)
    # w_edge has rows of equal magnitudes, and 4096 weights: 0.3 of them is not a whole number.
    for weight in weights.values():
        for sparsity in (0.0, 0.3, 0.5, 0.9, 1.0):
            check_pruned(weight, sparsity)
    # Halves round to even: 0 of 1, 2 of 3, 2 of 5.
    for size, zeros in ((1, 0), (3, 2), (5, 2)):
        assert np.count_nonzero(prune(np.ones((1, size), np.float32), 0.5) == 0) == zeros, size
    print("numpy_compress.py: equals compressed-tensors on 4 golden files")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", nargs="?", type=Path)
    parser.add_argument("target", nargs="?", type=Path)
    parser.add_argument("--sparsity", type=float)
    parser.add_argument("--group", type=int, default=128)
    parser.add_argument("--self-test", action="store_true")
    arguments = parser.parse_args()
    if arguments.self_test:
        default = Path(__file__).resolve().parent.parent / "tests" / "golden"
        self_test(arguments.source or default)
        return
    if arguments.source is None or arguments.target is None:
        parser.error("IN and OUT are needed")
    seconds = compress_file(
        arguments.source, arguments.target, arguments.group, arguments.sparsity
    )
    print(json.dumps({"seconds": seconds, "numpy": np.__version__, "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
