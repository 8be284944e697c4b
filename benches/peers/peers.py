#!/usr/bin/env python3
"""Times tensorpress's CPU backend beside numpy and onnxruntime, in one run. Exits with 1 where a limit
is missed:

    f32                       at least as fast as the faster of numpy and onnxruntime
    codes, 4096 × 4096, batch 1, f32 activations
                              at least as fast as MatMulNBits at accuracy level 0, and 2.5 times
                              as fast as our own f32
    the same, 8-bit activations
                              at least as fast as MatMulNBits at accuracy level 4
    784-100-10, batch 1       at most 3 times the bare arithmetic (examples/overhead.rs)

    benches/peers/peers.py [--threads N] [--rounds N] [--batches 1,64,1024] [--json]

Needs numpy, safetensors, onnx and onnxruntime, and builds tensorpress (TENSORPRESS=PATH takes a
program that is built). Networks of random weights: 784-100-10, 784-1200-1200-10 and one layer of
4096 × 4096. numpy computes x @ W.T + b with its BLAS into buffers that are there; onnxruntime runs
Gemm and Relu on the same weights with inputs and outputs bound, and MatMulNBits on the codes and
scales of the file that tensorpress quantized and itself runs. Every result is first compared with
numpy's in f64. Each program is timed in turn, round after round, one forward pass straight after
the other, so that the threads of each stay as awake as it lets them; a figure is the best round's
median.
"""

import argparse
import datetime
import json
import os
import platform
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
LIMIT_DENSE, LIMIT_CODES, LIMIT_OWN_DENSE, LIMIT_OVERHEAD = 1.0, 1.0, 2.5, 3.0
ROUNDED = ", int8 activations"
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
import onnx_graphs  # noqa: E402
from onnx_graphs import GROUP  # noqa: E402
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


def numpy_forward(layers):
    """The same with buffers that are made once for a batch."""
    transposed = [(weight.T, bias) for weight, bias in layers]
    buffers = {}

    def run(x):
        if len(x) not in buffers:
            widths = [len(bias) for _, bias in layers]
            buffers[len(x)] = [np.empty((len(x), width), np.float32) for width in widths]
        for number, ((weight, bias), out) in enumerate(zip(transposed, buffers[len(x)])):
            np.matmul(x, weight, out=out)
            np.add(out, bias, out=out)
            if number + 1 < len(layers):
                np.maximum(out, 0, out=out)
            x = out
        return x

    return run


def programs():
    """tensorpress and the example that measures the bare arithmetic."""
    build = ["cargo", "build", "--release", "--locked", "--quiet", "--example", "overhead"]
    path = os.environ.get("TENSORPRESS")
    subprocess.run([*build, *([] if path else ["--bin", "tensorpress"])], cwd=ROOT, check=True)
    built = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release"
    return str(path or built / "tensorpress"), str(built / "examples" / "overhead")


def ours(tensorpress, *arguments):
    command = [tensorpress, *map(str, arguments), "--device", "cpu", "--quiet"]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(ran.stdout) if "--json" in command else None


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


def tensorpress_outputs(tensorpress, model, x, folder, *more):
    given, out = folder / "x.npy", folder / "y.npy"
    np.save(given, x)
    out.unlink(missing_ok=True)
    ours(tensorpress, "run", model, "--input", given, "-o", out, "--logits", *more)
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
            ("dense", "numpy"): numpy_forward(self.layers),
            ("dense", "onnxruntime"): self.runner(onnx_graphs.dense(self.layers, ARGUMENTS.threads)),
        }
        # Our quantized files by their form.
        self.files = {}
        self.check(folder)
        self.best = {}

    @staticmethod
    def runner(onnx_session):
        """Runs on inputs and outputs that are bound once for each x."""
        bound = {}

        def run(x):
            if id(x) not in bound:
                binding = onnx_session.io_binding()
                binding.bind_cpu_input("x", x)
                binding.bind_output("y", "cpu")
                bound[id(x)] = (binding, x)
            binding, _ = bound[id(x)]
            onnx_session.run_with_iobinding(binding)
            return binding

        return run

    @staticmethod
    def result(run, x):
        found = run(x)
        return found if isinstance(found, np.ndarray) else found.copy_outputs_to_cpu()[0]

    def inputs(self, batch):
        width = self.layers[0][0].shape[1]
        return np.random.default_rng(batch).random((batch, width), dtype=np.float32)

    def check(self, folder):
        """Compares every contestant with numpy in f64 on the weights that it uses, and adds
        onnxruntime on codes."""
        x = self.inputs(3)
        exact = forward([(w.astype(np.float64), b) for w, b in self.layers], x.astype(np.float64))
        for (form, name), run in self.peers.items():
            check(f"{name}, {form}", self.result(run, x), exact, 1e-5)
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
            found = tensorpress_outputs(self.tensorpress, path, x, folder, "--int8-activations")
            check(f"tensorpress, int{bits}{ROUNDED}", found, exact, 3e-2)
            self.files[f"int{bits}"] = path
            for level, form, tolerance in ((0, "", 1e-5), (4, ROUNDED, 3e-2)):
                graph = onnx_graphs.quantized(self.layers, codes, bits, level, ARGUMENTS.threads)
                run = self.runner(graph)
                name = f"onnxruntime level {level}"
                check(f"{name}, int{bits}", self.result(run, x), exact, tolerance)
                self.peers[f"int{bits}{form}", name] = run

    def round(self):
        batches = ",".join(map(str, self.batches))
        for batch in self.batches:
            x = self.inputs(batch)
            for (form, name), run in self.peers.items():
                self.note(form, name, batch, median_seconds(lambda: run(x)))
        # A quantized file is measured as it is: bench's own int8 has a scale a row, not a group.
        wanted = {self.model: {"dense": "dense"}}
        for form, path in self.files.items():
            stored = {"as stored": form, f"as stored{ROUNDED}": f"{form}{ROUNDED}"}
            wanted[path] = stored | {"dense": "dense"}
        for path, names in wanted.items():
            bench = ["bench", "--model", path, "--batches", batches, "--int8-activations", "--json"]
            report = ours(self.tensorpress, *bench)
            for form in report["devices"][0]["forms"]:
                for speed in form["batches"] if form["form"] in names else []:
                    name = names[form["form"]]
                    self.note(name, "tensorpress", speed["batch"], speed["seconds"])

    def note(self, form, name, batch, seconds):
        key = (form, name, batch)
        self.best[key] = min(seconds, self.best.get(key, seconds))

    def rows(self):
        for (form, name, batch), seconds in sorted(self.best.items(), key=self.order):
            if name == "tensorpress":
                others = {
                    other: time * 1e3
                    for (f, other, b), time in self.best.items()
                    if b == batch and f == form and other != name
                }
                row = {
                    "network": self.name,
                    "batch": batch,
                    "form": form,
                    "milliseconds": seconds * 1e3,
                    "others_milliseconds": others,
                    "times_fastest_other": min(others.values()) / (seconds * 1e3),
                    "times_own_dense": self.best["dense", name, batch] / seconds,
                }
                row["limits"] = limits(row)
                yield row | {"missed": any(row[key] < limit for key, limit in row["limits"].items())}

    @staticmethod
    def order(item):
        (form, name, batch), _ = item
        return batch, form != "dense", form, name


def limits(row):
    """The least that each figure of a row may be."""
    if row["form"] == "dense":
        return {"times_fastest_other": LIMIT_DENSE}
    if row["batch"] > 1:
        return {}  # measured, not promised
    own = {} if row["form"].endswith(ROUNDED) else {"times_own_dense": LIMIT_OWN_DENSE}
    return {"times_fastest_other": LIMIT_CODES} | own


def overhead(example):
    """The forward pass of 784-100-10 at batch 1 beside its bare arithmetic."""
    ran = subprocess.run([example], check=True, capture_output=True, text=True)
    row = json.loads(ran.stdout)
    times = row["network_microseconds"] / row["bare_microseconds"]
    return row | {"times_bare": times, "limit": LIMIT_OVERHEAD, "missed": times > LIMIT_OVERHEAD}


def machine():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def main():
    tensorpress, example = programs()
    with tempfile.TemporaryDirectory() as folder:
        contests = [Contest(tensorpress, name, Path(folder)) for name in NETWORKS]
        for _ in range(ARGUMENTS.rounds):
            for contest in contests:
                contest.round()
        rows = [row for contest in contests for row in contest.rows()]
        bare = min((overhead(example) for _ in range(ARGUMENTS.rounds)), key=lambda r: r["times_bare"])
    version = subprocess.run([tensorpress, "--version"], capture_output=True, text=True, check=True)
    versions = (
        f"{version.stdout.strip()}, numpy {np.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"onnx {onnx.__version__}"
    )
    report = {
        "schema_version": 1,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "threads": ARGUMENTS.threads,
        "versions": versions,
        "rows": rows,
        "overhead": bare,
        "missed": sum(row["missed"] for row in [*rows, bare]),
    }
    print(json.dumps(report, indent=2) if ARGUMENTS.json else text(report))
    sys.exit(1 if report["missed"] else 0)


def text(report):
    lines = [
        f"{report['date']}, {report['machine']}, {report['threads']} threads",
        f"{report['versions']}; ms a forward pass, best median of {ARGUMENTS.rounds} rounds",
        f"{'network':<17}{'batch':>6}  {'form':<23}{'ours':>9}{'x peer (limit)':>17}"
        f"{'x own f32 (limit)':>19}  peers",
    ]

    def ratio(row, key):
        limit = row["limits"].get(key)
        return f"{row[key]:.2f}" + (f" ({limit})" if limit else "")

    for row in report["rows"]:
        others = ", ".join(f"{n} {t:.3f}" for n, t in row["others_milliseconds"].items())
        lines.append(
            f"{row['network']:<17}{row['batch']:>6}  {row['form']:<23}{row['milliseconds']:>9.3f}"
            f"{ratio(row, 'times_fastest_other'):>17}{ratio(row, 'times_own_dense'):>19}  {others}"
            f"{'  MISSED' if row['missed'] else ''}"
        )
    bare = report["overhead"]
    lines.append(
        f"784-100-10, batch 1: {bare['network_microseconds']:.1f} µs, {bare['times_bare']:.2f} times "
        f"the bare arithmetic of {bare['bare_microseconds']:.1f} µs (limit {bare['limit']}); its "
        f"weights are read in {bare['read_microseconds']:.1f} µs"
        f"{'  MISSED' if bare['missed'] else ''}"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
