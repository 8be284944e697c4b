"""Networks as graphs for onnxruntime: f32 layers, and MatMulNBits on codes."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

# Weights that share a scale.
GROUP = 128


def session(nodes, initializers, inputs, outputs, threads):
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
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def chained(layers, product, threads):
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
    return session(nodes, initializers, layers[0][0].shape[1], layers[-1][0].shape[0], threads)


def dense(layers, threads):
    """Gemm and Relu."""

    def product(number, source, target):
        weight, bias = layers[number]
        names = [f"w{number}", f"b{number}"]
        node = helper.make_node("Gemm", [source, *names], [target], transB=1)
        return [node], [numpy_helper.from_array(a, n) for a, n in zip((weight, bias), names)]

    return chained(layers, product, threads)


def quantized(layers, codes_of, bits, level, threads):
    """MatMulNBits: groups of 128 along a row, two int4 codes a byte, zero point
    2^(bits-1). `codes_of` holds codes and scales a layer."""

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

    return chained(layers, product, threads)
