#!/usr/bin/env python3
"""Trains small networks with Keras for 100 steps and writes where their weights end.

    benches/peers/keras_steps.py [-o tests/fixtures/keras_steps.safetensors]

Needs numpy, safetensors and Keras 3 with any backend (KERAS_BACKEND=torch where PyTorch is what is
installed). The file holds the data (`x` u8 [320, 64], `y` u8 [320]) and for each case the weights
before and after, [out, in]: `CASE/initial/fc1.weight`, `CASE/final/fc1.weight` and so on. Its
metadata says what each case is. tests/training/ trains the same networks from the same weights,
without shuffling, in batches of 32, and wants to end within 1e-5 of these.
"""

import argparse
import json
from pathlib import Path

import keras
import numpy as np
from safetensors.numpy import save_file

INPUTS, HIDDEN, CLASSES, ROWS, BATCH, STEPS = 64, 24, 10, 320, 32, 100

# Name: optimizer with its options, loss, activation of the hidden layer, L2 factor.
CASES = {
    "adam": ("adam", {"learning_rate": 1e-3}, "sparse-categorical-crossentropy", "relu", 0.0),
    "adam_mse": ("adam", {"learning_rate": 1e-3}, "mse", "sigmoid", 0.0),
    "adam_l2": ("adam", {"learning_rate": 1e-3}, "sparse-categorical-crossentropy", "silu", 1e-3),
    "adamw": (
        "adamw",
        {"learning_rate": 1e-3, "weight_decay": 0.004},
        "sparse-categorical-crossentropy",
        "gelu",
        0.0,
    ),
    "sgd": ("sgd", {"learning_rate": 0.05}, "sparse-categorical-crossentropy", "leaky_relu", 0.0),
    "momentum": (
        "sgd",
        {"learning_rate": 0.02, "momentum": 0.9},
        "sparse-categorical-crossentropy",
        "tanh",
        0.0,
    ),
}
OPTIMIZERS = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def data():
    """Blurred prototypes, one a class, with noise: enough to learn something in 100 steps."""
    generator = np.random.default_rng(7)
    prototypes = generator.integers(0, 256, (CLASSES, INPUTS))
    y = generator.integers(0, CLASSES, ROWS)
    noise = generator.normal(0, 60, (ROWS, INPUTS))
    x = np.clip(prototypes[y] * 0.6 + noise + 40, 0, 255).astype(np.uint8)
    x[:, :3] = 0  # as the borders of pictures: their weights must not move
    return x, y.astype(np.uint8)


def activation(name):
    if name == "leaky_relu":
        return lambda z: keras.activations.leaky_relu(z, negative_slope=0.2)
    if name == "gelu":
        return lambda z: keras.activations.gelu(z, approximate=False)
    return name


def train(case, x, y):
    optimizer, options, loss, hidden, l2 = CASES[case]
    keras.utils.set_random_seed(list(CASES).index(case) + 1)

    def regularizer():
        return keras.regularizers.L2(l2) if l2 else None

    model = keras.Sequential(
        [
            keras.Input((INPUTS,)),
            keras.layers.Dense(HIDDEN, activation(hidden), kernel_regularizer=regularizer()),
            keras.layers.Dense(CLASSES, "softmax", kernel_regularizer=regularizer()),
        ]
    )
    targets = y
    if loss == "mse":
        targets = np.eye(CLASSES, dtype=np.float32)[y]
    model.compile(OPTIMIZERS[optimizer](**options), loss=loss.replace("-", "_"))
    found = {f"{case}/initial/{name}": value for name, value in weights(model)}
    epochs = STEPS * BATCH // ROWS
    inputs = x.astype(np.float32) / np.float32(255)
    model.fit(inputs, targets, batch_size=BATCH, epochs=epochs, shuffle=False, verbose=0)
    found |= {f"{case}/final/{name}": value for name, value in weights(model)}
    return found


def weights(model):
    for number, layer in enumerate(model.layers, 1):
        kernel, bias = layer.get_weights()
        yield f"fc{number}.weight", np.ascontiguousarray(kernel.T)
        yield f"fc{number}.bias", bias


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "tests/fixtures/keras_steps.safetensors"
    parser.add_argument("-o", "--output", type=Path, default=default)
    arguments = parser.parse_args()
    x, y = data()
    tensors = {"x": x, "y": y}
    for case in CASES:
        tensors |= train(case, x, y)
    cases = {
        case: {
            "optimizer": optimizer,
            **options,
            "loss": loss,
            "activation": {"leaky_relu": "leaky-relu:0.2"}.get(hidden, hidden),
            "l2": l2,
        }
        for case, (optimizer, options, loss, hidden, l2) in CASES.items()
    }
    metadata = {
        "keras": f"{keras.__version__} on {keras.backend.backend()}",
        "batch_size": str(BATCH),
        "steps": str(STEPS),
        "cases": json.dumps(cases),
    }
    save_file(tensors, arguments.output, metadata)
    for case in CASES:
        before, after = (tensors[f"{case}/{when}/fc1.weight"] for when in ("initial", "final"))
        print(f"{case:<10} largest move {np.abs(after - before).max():.4f}")


if __name__ == "__main__":
    main()
