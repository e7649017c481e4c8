"""PyTorch on the GPU, doing the work of a benchmark row one round at a time: the conversation is that of torch_cpu.py.

Where PyTorch has several ways, each is tried when the row is opened and the fastest stays: attention by cuDNN, by its
flash kernel and by the memory-efficient one, convolutions with channels first and last. Matrix products are cuBLAS's.
f32 is f32, without TF32. Rounds are timed by the clock on the wall, from an idle device to an idle device, as ours are.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

import torch_cpu
from torch_cpu import DTYPES, KINDS, RECORDED, gradients, random

BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


def heads(task):
    """[B, S, H, D] in memory, as the model has it, seen as PyTorch wants it."""
    return random((1, task["tokens"], task["heads"], task["width"]), DTYPES[task["dtype"]]).transpose(1, 2)


def attention_by(backend, inputs):
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(*inputs)


def attention(task):
    inputs = tuple(heads(task) for _ in range(3))
    return {name: lambda b=backend: lambda: attention_by(b, inputs) for name, backend in BACKENDS.items()}


def attention_backward(task):
    inputs = tuple(heads(task).requires_grad_() for _ in range(3))
    return {name: lambda b=backend: gradients(attention_by(b, inputs), inputs) for name, backend in BACKENDS.items()}


LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last_3d}


def conv3d_parts(task, layout):
    run, inputs = torch_cpu.conv3d_parts(task, DTYPES[task["dtype"]])
    for one in inputs[:2]:
        one.data = one.contiguous(memory_format=layout)
    return run, inputs


def conv3d(task):
    return {name: lambda by=layout: conv3d_parts(task, by)[0] for name, layout in LAYOUTS.items()}


def conv3d_gradients(task, layout):
    run, inputs = conv3d_parts(task, layout)
    for one in inputs:
        one.requires_grad_()
    return gradients(run(), inputs)


def conv3d_backward(task):
    return {name: lambda by=layout: conv3d_gradients(task, by) for name, layout in LAYOUTS.items()}


# What builds each way of doing a kind of work; others have one.
WAYS = {
    "attention": attention,
    "attention_backward": attention_backward,
    "conv3d": conv3d,
    "conv3d_backward": conv3d_backward,
}


class Session(torch_cpu.Session):
    def open(self, task):
        self.before = torch.cuda.memory_allocated()
        self.recorded = task["kind"] in RECORDED
        kind, dtype = task["kind"], DTYPES[task["dtype"]]
        if kind not in KINDS:
            return {"ok": False, "reason": f"PyTorch has nothing like {task}"}
        ways = WAYS[kind](task) if kind in WAYS else {"": lambda: KINDS[kind](task, dtype)}
        best, note, reason = None, "", f"PyTorch has nothing like {task}"
        for name, build in ways.items():
            try:
                call = self.call = build()
                if call is None:
                    break
                self.round(2)
                us = min(self.round(2)["us"] for _ in range(3))
            except RuntimeError as error:  # this way has no kernel for the type or the size
                reason = f"{name}: {error}"
                continue
            if best is None or us < best[0]:
                best, note = (us, call), name
        self.call = best and best[1]
        return {"ok": False, "reason": reason} if best is None else {"ok": True, "note": note}

    def round(self, calls, clock="wall"):
        if clock != "wall":
            raise ValueError("a GPU's work is timed by the clock on the wall")
        with torch.inference_mode(not self.recorded):
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                self.call()
            torch.cuda.synchronize()
            return {"us": (time.perf_counter() - start) * 1e6 / calls}

    def memory(self):
        torch.cuda.reset_peak_memory_stats()
        self.round(1)
        return {"peak": torch.cuda.max_memory_allocated() - self.before}

    def answer(self, request):
        answer = super().answer(request)
        if "close" in request:
            torch.cuda.empty_cache()
        return answer


def main():
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    torch.set_default_device("cuda")
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    about = {"torch": torch.__version__, "threads": int(sys.argv[1]) if len(sys.argv) > 1 else 1}
    libraries = f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"
    torch_cpu.serve(Session(), {**about, "about": f"{libraries}, {torch.cuda.get_device_name()}"})


if __name__ == "__main__":
    main()
