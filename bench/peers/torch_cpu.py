"""PyTorch on the CPU, doing the work of a benchmark row one round at a time.

Reads one JSON request a line on stdin and answers one JSON object a line on stdout, so that bench/peers/run.ts can
alternate its own rounds with these:

    {"open": {"kind": "linear", "dtype": "f32", ...}}    builds inputs, runs once  ->  {"ok": true}
    {"round": 3, "clock": "wall"}                        three calls               ->  {"us": microseconds of one}
    {"memory": true}                                     one call                  ->  {"peak": resident bytes above those before open}
    {"close": true}                                      forgets the inputs        ->  {"ok": true}

The first line printed describes the program: {"torch": version, "threads": n}. Threads: the first argument.
"""

import ctypes
import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

from torch_dit import dit, dit_train
from torch_vae import vae_decode

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def random(shape, dtype, scale=1.0):
    return ((torch.rand(shape) * 2 - 1) * scale).to(dtype)


def gradients(output, inputs):
    """Times the backward pass alone: the graph is kept from call to call."""
    gradient = random(output.shape, output.dtype)
    return lambda: torch.autograd.grad(output, inputs, gradient, retain_graph=True)


def linear(task, dtype):
    weight_dtype = DTYPES[task["weight"]] if task["weight"] in DTYPES else None
    if weight_dtype is None:
        return None
    x = random((task["rows"], task["inner"]), dtype)
    w = random((task["columns"], task["inner"]), weight_dtype, 1 / math.sqrt(task["inner"]))
    if weight_dtype == dtype:
        return lambda: F.linear(x, w)
    # PyTorch multiplies equal types only: a narrow weight under wide activations is widened for each call.
    return lambda: F.linear(x, w.to(dtype))


def linear_backward(task, dtype):
    x = random((1, task["rows"], task["inner"]), dtype).requires_grad_()
    w = random((task["columns"], task["inner"]), dtype, 1 / math.sqrt(task["inner"])).requires_grad_()
    bias = random((task["columns"],), dtype).requires_grad_()
    return gradients(F.linear(x, w, bias), (x, w, bias))


def heads(task, dtype, key="heads"):
    """PyTorch's own order of axes, [B, H, S, D], dense: what its kernel takes best."""
    return random((1, task[key], task["tokens"], task["width"]), dtype)


def attention(task, dtype):
    q, k, v = (heads(task, dtype) for _ in range(3))
    return lambda: F.scaled_dot_product_attention(q, k, v)


def attention_backward(task, dtype):
    inputs = tuple(heads(task, dtype).requires_grad_() for _ in range(3))
    return gradients(F.scaled_dot_product_attention(*inputs), inputs)


def attention_causal(task, dtype):
    q = heads(task, dtype)
    k, v = (heads(task, dtype, "kvHeads") for _ in range(2))
    return lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def attention_frames(task, dtype):
    """By a mask in memory, as the public implementations of the autoencoder do; making it is not timed."""
    tokens = task["frames"] * task["frameTokens"]
    q, k, v = (random((1, 1, tokens, task["width"]), dtype) for _ in range(3))
    frame = torch.arange(tokens) // task["frameTokens"]
    mask = frame[:, None] >= frame[None, :]
    return lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def conv3d_parts(task, dtype):
    """[B, C, T, H, W]; the edge is repeated by a padding of its own, as the public implementations do."""
    kernel = task["kernel"]
    x = random((1, task["cin"], *task["grid"]), dtype)
    weight = random((task["cout"], task["cin"], kernel, kernel, kernel), dtype, 1 / math.sqrt(kernel**3 * task["cin"]))
    bias = random((task["cout"],), dtype)
    rim = kernel // 2
    padding = (rim, rim, rim, rim, kernel - 1, 0)

    def run():
        padded = F.pad(x, padding, mode="replicate") if kernel > 1 else x
        return F.conv3d(padded, weight, bias, stride=tuple(task["stride"]))

    return run, (x, weight, bias)


def conv3d(task, dtype):
    return conv3d_parts(task, dtype)[0]


def conv3d_backward(task, dtype):
    run, inputs = conv3d_parts(task, dtype)
    for one in inputs:
        one.requires_grad_()
    return gradients(run(), inputs)


def layer_norm(task, dtype):
    x = random(task["shape"], dtype)
    return lambda: F.layer_norm(x, x.shape[-1:], eps=1e-6)


def layer_norm_modulate(task, dtype):
    x = random(task["shape"], dtype)
    shift, scale = (random((task["shape"][0], 1, task["shape"][-1]), dtype) for _ in range(2))
    return lambda: F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def rms_norm(task, dtype):
    x = random(task["shape"], dtype)
    weight = random(task["shape"][-1:], dtype)
    return lambda: F.rms_norm(x, x.shape[-1:], weight, 1e-6)


def group_norm_silu(task, dtype):
    batch, *grid, channels = task["shape"]
    x = random((batch, channels, *grid), dtype)
    weight, bias = random((channels,), dtype), random((channels,), dtype)
    return lambda: F.silu(F.group_norm(x, task["groups"], weight, bias, 1e-6))


def gate_residual(task, dtype):
    x, y = random(task["shape"], dtype), random(task["shape"], dtype)
    gate = random((task["shape"][0], 1, task["shape"][-1]), dtype)
    return lambda: torch.addcmul(x, y, gate)


def add(task, dtype):
    x, y = random(task["shape"], dtype), random(task["shape"], dtype)
    return lambda: x + y


def unary(task, dtype):
    x = random(task["shape"], dtype)
    functions = {"silu": F.silu, "gelu_tanh": lambda t: F.gelu(t, approximate="tanh"), "exp": torch.exp, "tanh": torch.tanh}
    function = functions[task["fn"]]
    return lambda: function(x)


def softmax(task, dtype):
    x = random(task["shape"], dtype)
    return lambda: torch.softmax(x, -1)


def total(task, dtype):
    x = random(task["shape"], dtype)
    axis = task["axis"]
    return (lambda: x.sum()) if axis == -2 else (lambda: x.sum(axis))


def resize_bilinear(task, dtype):
    batch, height, width, channels = task["shape"]
    x = random((batch, channels, height, width), dtype).contiguous(memory_format=torch.channels_last)
    size = (task["height"], task["width"])
    return lambda: F.interpolate(x, size, mode="bilinear")


def adamw(task, dtype):
    params = [torch.nn.Parameter(random(task["shape"], dtype)) for _ in range(2)]
    for one in params:
        one.grad = random(task["shape"], dtype)
    optimizer = torch.optim.AdamW(params, lr=1e-4, fused=True)
    return optimizer.step


KINDS = {
    "adamw": adamw,
    "add": add,
    "attention": attention,
    "attention_backward": attention_backward,
    "attention_causal": attention_causal,
    "attention_frames": attention_frames,
    "conv3d": conv3d,
    "conv3d_backward": conv3d_backward,
    "dit": dit,
    "dit_train": dit_train,
    "gate_residual": gate_residual,
    "group_norm_silu": group_norm_silu,
    "layer_norm": layer_norm,
    "layer_norm_modulate": layer_norm_modulate,
    "linear": linear,
    "linear_backward": linear_backward,
    "resize_bilinear": resize_bilinear,
    "rms_norm": rms_norm,
    "softmax": softmax,
    "sum": total,
    "unary": unary,
    "vae_decode": vae_decode,
}
RECORDED = ("adamw", "attention_backward", "conv3d_backward", "dit_train", "linear_backward")


def resident(field):
    """A field of /proc/self/status in bytes."""
    try:
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        return None


def give_back():
    """What is free goes back to the system, or the next row would seem to need that much less."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Session:
    def __init__(self):
        self.call = None
        self.recorded = False
        self.before = None

    def open(self, task):
        self.before = resident("VmRSS")
        self.recorded = task["kind"] in RECORDED
        build = KINDS.get(task["kind"])
        self.call = build and build(task, DTYPES[task["dtype"]])
        if self.call is None:
            return {"ok": False, "reason": f"PyTorch has nothing like {json.dumps(task)}"}
        self.round(1)
        return {"ok": True}

    def round(self, calls, clock="wall"):
        now = time.process_time if clock == "processor" else time.perf_counter
        with torch.inference_mode(not self.recorded):
            start = now()
            for _ in range(calls):
                self.call()
            return {"us": (now() - start) * 1e6 / calls}

    def memory(self):
        try:
            with open("/proc/self/clear_refs", "w") as mark:
                mark.write("5")
        except OSError:
            return {"peak": None}
        self.round(1)
        peak = resident("VmHWM")
        return {"peak": None if peak is None or self.before is None else peak - self.before}

    def answer(self, request):
        if "open" in request:
            return self.open(request["open"])
        if "round" in request:
            return self.round(request["round"], request.get("clock", "wall"))
        if "memory" in request:
            return self.memory()
        self.call = None
        give_back()
        return {"ok": True}


def serve(session, about):
    """Answers until stdin ends."""
    torch.manual_seed(0)
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        try:
            answer = session.answer(json.loads(line))
        except Exception as error:  # one row that cannot run must not end the others
            answer = {"ok": False, "reason": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    serve(Session(), {"torch": torch.__version__, "threads": torch.get_num_threads()})


if __name__ == "__main__":
    main()
