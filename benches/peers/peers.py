#!/usr/bin/env python3
"""Times tensorpress's CPU backend beside numpy and onnxruntime, in one run.

    benches/peers/peers.py [--threads N] [--rounds N] [--batches 1,64,1024] [--json]

Needs numpy, safetensors, onnx and onnxruntime, and builds tensorpress (TENSORPRESS=PATH takes a
program that is built). Networks of random weights: 784-100-10, 784-1200-1200-10 and one layer of
4096 × 4096. numpy computes x @ W.T + b with its BLAS; onnxruntime runs Gemm and Relu on the same
weights, and MatMulNBits on the codes and scales of the file that tensorpress quantized. Every
result is first compared with numpy's in f64. Each program is timed in turn, round after round; a
figure is the best round's median.
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
NETWORKS = {
    "784-100-10": (784, 100, 10),
    "784-1200-1200-10": (784, 1200, 1200, 10),
    "4096-4096": (4096, 4096),
}
GROUP = 128
# A forward pass is repeated at least this long, and this often.
MIN_SECONDS, MIN_RUNS = 0.2, 5


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batches", default="1,64,1024")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


ARGUMENTS = arguments()
for library in ("OMP", "OPENBLAS", "MKL", "RAYON"):  # before numpy reads them
    os.environ[f"{library}_NUM_THREADS"] = str(ARGUMENTS.threads)

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402


def random_layers(widths):
    """(weight [out, in], bias [out]) a layer, of the size that training leaves."""
    generator = np.random.default_rng(1)
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        weight = generator.standard_normal((outputs, inputs)) / np.sqrt(inputs)
        bias = generator.standard_normal(outputs) * 0.1
        layers.append((weight.astype(np.float32), bias.astype(np.float32)))
    return layers


def forward(layers, x):
    """The logits, relu between layers."""
    for number, (weight, bias) in enumerate(layers):
        x = x @ weight.T + bias
        if number + 1 < len(layers):
            x = np.maximum(x, 0)
    return x


def program():
    path = os.environ.get("TENSORPRESS")
    if path is None:
        build = ["cargo", "build", "--release", "--locked", "--quiet", "--bin", "tensorpress"]
        subprocess.run(build, cwd=ROOT, check=True)
        path = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "tensorpress"
    return str(path)


def ours(tensorpress, *arguments):
    command = [tensorpress, *map(str, arguments), "--device", "cpu", "--quiet"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout) if "--json" in command else None


def session(nodes, initializers, inputs, outputs):
    """An onnxruntime session of one graph from x [batch, inputs] to y [batch, outputs]."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", outputs])],
        initializers,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = ARGUMENTS.threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def chained(layers, product):
    """A session whose layers are what `product(number, source, target)` gives, relu between."""
    nodes, initializers, source = [], [], "x"
    for number in range(len(layers)):
        last = number + 1 == len(layers)
        target = "y" if last else f"h{number}"
        more, weights = product(number, source, target)
        nodes += more
        initializers += weights
        source = target
        if not last:
            nodes.append(helper.make_node("Relu", [target], [f"{target}.relu"]))
            source = f"{target}.relu"
    return session(nodes, initializers, layers[0][0].shape[1], layers[-1][0].shape[0])


def onnx_dense(layers):
    def product(number, source, target):
        weight, bias = layers[number]
        names = [f"w{number}", f"b{number}"]
        node = helper.make_node("Gemm", [source, *names], [target], transB=1)
        return [node], [numpy_helper.from_array(a, n) for a, n in zip((weight, bias), names)]

    return chained(layers, product)


def unpacked(words, bits, columns):
    """Unsigned codes of compressed-tensors' words: code i of a word lies at bit i · bits."""
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    codes = (words.view(np.uint32)[:, :, None] >> shifts) & ((1 << bits) - 1)
    return codes.reshape(words.shape[0], -1)[:, :columns].astype(np.uint8)


def quantized(path, layers, bits):
    """(codes, scales [out, groups], dense f32 [out, in]) a layer, from tensorpress's file."""
    found = []
    with safe_open(path, "numpy") as file:
        for number, (weight, _) in enumerate(layers):
            name = f"fc{number + 1}.weight"
            columns = weight.shape[1]
            codes = unpacked(file.get_tensor(f"{name}_packed"), bits, columns)
            scales = file.get_tensor(f"{name}_scale").reshape(len(weight), -1)
            dense = codes.astype(np.float32) - (1 << (bits - 1))
            dense *= np.repeat(scales, GROUP, axis=1)[:, :columns]
            found.append((codes, scales, dense))
    return found


def onnx_quantized(layers, codes_of, bits, level):
    """MatMulNBits: groups of 128 along a row, two int4 codes a byte, zero point 2^(bits-1)."""

    def product(number, source, target):
        codes, scales, _ = codes_of[number]
        outputs, columns = codes.shape
        groups = -(-columns // GROUP)
        padded = np.full((outputs, groups * GROUP), 1 << (bits - 1), np.uint8)
        padded[:, :columns] = codes
        if bits == 4:
            padded = padded[:, 0::2] | (padded[:, 1::2] << 4)
        blocks = padded.reshape(outputs, groups, GROUP * bits // 8)
        weights = {f"w{number}": blocks, f"s{number}": scales, f"b{number}": layers[number][1]}
        node = helper.make_node(
            "MatMulNBits",
            [source, f"w{number}", f"s{number}"],
            [f"{target}.product"],
            domain="com.microsoft",
            K=columns,
            N=outputs,
            bits=bits,
            block_size=GROUP,
            accuracy_level=level,
        )
        add = helper.make_node("Add", [f"{target}.product", f"b{number}"], [target])
        return [node, add], [numpy_helper.from_array(a, n) for n, a in weights.items()]

    return chained(layers, product)


def median_seconds(run):
    run()
    times, start = [], time.perf_counter()
    while len(times) < MIN_RUNS or time.perf_counter() - start < MIN_SECONDS:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return float(np.median(times))


def check(name, found, expected, tolerance):
    error = np.abs(found - expected).max() / np.abs(expected).max()
    if not error <= tolerance:
        sys.exit(f"{name}: off by {error:.2e} of the largest output, more than {tolerance:.0e}")


def tensorpress_outputs(tensorpress, model, x, folder):
    given, out = folder / "x.npy", folder / "y.npy"
    np.save(given, x)
    out.unlink(missing_ok=True)
    ours(tensorpress, "run", model, "--input", given, "-o", out, "--logits")
    return np.load(out)


class Contest:
    """One network: who computes what, and the best time of each."""

    def __init__(self, tensorpress, name, folder):
        self.name, self.tensorpress = name, tensorpress
        self.batches = [int(batch) for batch in ARGUMENTS.batches.split(",")]
        self.layers = random_layers(NETWORKS[name])
        self.model = folder / f"{name}.safetensors"
        tensors = {}
        for number, (weight, bias) in enumerate(self.layers):
            tensors |= {f"fc{number + 1}.weight": weight, f"fc{number + 1}.bias": bias}
        save_file(tensors, self.model)
        self.peers = {
            ("dense", "numpy"): lambda x: forward(self.layers, x),
            ("dense", "onnxruntime"): self.runner(onnx_dense(self.layers)),
        }
        self.check(folder)
        self.best = {}

    @staticmethod
    def runner(onnx_session):
        return lambda x: onnx_session.run(None, {"x": x})[0]

    def inputs(self, batch):
        width = self.layers[0][0].shape[1]
        return np.random.default_rng(batch).random((batch, width), dtype=np.float32)

    def check(self, folder):
        """Compares every contestant with numpy in f64 on the weights that it uses, and adds
        onnxruntime on codes."""
        x = self.inputs(3)
        exact = forward([(w.astype(np.float64), b) for w, b in self.layers], x.astype(np.float64))
        for (form, name), run in self.peers.items():
            check(f"{name}, {form}", run(x), exact, 1e-5)
        found = tensorpress_outputs(self.tensorpress, self.model, x, folder)
        check("tensorpress, dense", found, exact, 1e-5)
        for bits in (8, 4):
            path = folder / f"{self.name}.int{bits}.safetensors"
            scheme = ["--quantize", f"int{bits}", "--granularity", "group"]
            if any(weight.shape[1] % GROUP for weight, _ in self.layers):
                continue  # MatMulNBits pads a last group, compressed-tensors has none
            ours(self.tensorpress, "compress", self.model, "-o", path, *scheme)
            codes = quantized(path, self.layers, bits)
            dense = [(c[2].astype(np.float64), b) for c, (_, b) in zip(codes, self.layers)]
            exact = forward(dense, x.astype(np.float64))
            found = tensorpress_outputs(self.tensorpress, path, x, folder)
            check(f"tensorpress, int{bits}", found, exact, 1e-5)
            for level, tolerance in ((0, 1e-5), (4, 3e-2)):
                run = self.runner(onnx_quantized(self.layers, codes, bits, level))
                name = f"onnxruntime level {level}"
                check(f"{name}, int{bits}", run(x), exact, tolerance)
                self.peers[f"int{bits}", name] = run

    def round(self):
        batches = ",".join(map(str, self.batches))
        for batch in self.batches:
            x = self.inputs(batch)
            for (form, name), run in self.peers.items():
                self.note(form, name, batch, median_seconds(lambda: run(x)))
        bench = ["bench", "--model", self.model, "--batches", batches, "--json"]
        report = ours(self.tensorpress, *bench)
        for form in report["devices"][0]["forms"]:
            for speed in form["batches"]:
                self.note(form["form"], "tensorpress", speed["batch"], speed["seconds"])

    def note(self, form, name, batch, seconds):
        key = (form, name, batch)
        self.best[key] = min(seconds, self.best.get(key, seconds))

    def rows(self):
        for (form, name, batch), seconds in sorted(self.best.items(), key=self.order):
            if name == "tensorpress":
                others = [
                    (time, other)
                    for (f, other, b), time in self.best.items()
                    if b == batch and f == form and other != name and "level 4" not in other
                ]
                fastest = min(others, default=None)
                dense = self.best["dense", name, batch]
                yield {
                    "network": self.name,
                    "batch": batch,
                    "form": form,
                    "milliseconds": seconds * 1e3,
                    "others_milliseconds": {
                        other: time * 1e3
                        for (f, other, b), time in self.best.items()
                        if b == batch and f == form and other != name
                    },
                    "times_fastest_other": fastest and fastest[0] / seconds,
                    "times_own_dense": dense / seconds,
                }

    @staticmethod
    def order(item):
        (form, name, batch), _ = item
        return batch, form != "dense", form, name


def main():
    tensorpress = program()
    with tempfile.TemporaryDirectory() as folder:
        contests = [Contest(tensorpress, name, Path(folder)) for name in NETWORKS]
        for _ in range(ARGUMENTS.rounds):
            for contest in contests:
                contest.round()
        rows = [row for contest in contests for row in contest.rows()]
    versions = f"numpy {np.__version__}, onnxruntime {onnxruntime.__version__}"
    if ARGUMENTS.json:
        print(json.dumps({"threads": ARGUMENTS.threads, "peers": versions, "rows": rows}, indent=2))
        return
    print(f"{versions}, onnx {onnx.__version__}, {ARGUMENTS.threads} threads, ms a forward pass")
    print(f"{'network':<17}{'batch':>6}  {'form':<22}{'ours':>9}{'x peer':>8}{'x dense':>9}  peers")
    for row in rows:
        ratio = row["times_fastest_other"]
        others = ", ".join(f"{n} {t:.3f}" for n, t in row["others_milliseconds"].items())
        print(
            f"{row['network']:<17}{row['batch']:>6}  {row['form']:<22}{row['milliseconds']:>9.3f}"
            f"{f'{ratio:.2f}' if ratio else '':>8}{row['times_own_dense']:>9.2f}  {others}"
        )


if __name__ == "__main__":
    main()
