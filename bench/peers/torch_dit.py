"""The video transformer in plain PyTorch: one operation after another, as the public implementation has them.

Inference and training steps with random weights, for time and memory only. Tokens are [video, text]; all text tokens are
real, so that attention needs no mask.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def modulate(x, shift, scale):
    return x * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)


def sinusoid(t):
    frequencies = torch.exp(-math.log(10000) * torch.arange(0, 128, dtype=torch.float32) / 128)
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)


def rope_tables(sizes, axes, theta=256.0):
    grid = torch.stack(torch.meshgrid(*[torch.arange(n, dtype=torch.float32) for n in sizes], indexing="ij"))
    angles = []
    for positions, width in zip(grid, axes):
        frequencies = 1.0 / theta ** (torch.arange(0, width, 2).float() / width)
        angles.append(torch.outer(positions.reshape(-1), frequencies).repeat_interleave(2, dim=1))
    angles = torch.cat(angles, dim=1)
    return angles.cos(), angles.sin()


def rotate(x, tables):
    cos, sin = (table[None, :, None, :] for table in tables)
    wide = x.float()
    a, b = wide.reshape(*x.shape[:-1], -1, 2).unbind(-1)
    turned = torch.stack([-b, a], dim=-1).flatten(3)
    return (wide * cos + turned * sin).type_as(x)


def attention(q, k, v):
    """[B, S, H, D] in, [B, S, H * D] out."""
    o = F.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
    return o.transpose(1, 2).flatten(2)


class RMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).type_as(x) * self.weight


class MLP(nn.Sequential):
    def __init__(self, inner, hidden, outer, activation):
        super().__init__(nn.Linear(inner, hidden), activation, nn.Linear(hidden, outer))


class Stream(nn.Module):
    """What a dual-stream block has once for video and once for text."""

    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.mod = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 6 * hidden))
        self.norm1 = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.norm2 = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.q_norm, self.k_norm = RMSNorm(hidden // heads), RMSNorm(hidden // heads)
        self.proj = nn.Linear(hidden, hidden)
        self.mlp = MLP(hidden, 4 * hidden, hidden, nn.GELU(approximate="tanh"))

    def qkv_of(self, x, shift, scale, tables):
        q, k, v = self.qkv(modulate(self.norm1(x), shift, scale)).unflatten(2, (3, self.heads, -1)).unbind(2)
        q, k = self.q_norm(q), self.k_norm(k)
        return (q, k, v) if tables is None else (rotate(q, tables), rotate(k, tables), v)

    def after(self, x, attn, gate1, shift2, scale2, gate2):
        x = x + self.proj(attn) * gate1.unsqueeze(1)
        return x + self.mlp(modulate(self.norm2(x), shift2, scale2)) * gate2.unsqueeze(1)


class DoubleBlock(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.img, self.txt = Stream(hidden, heads), Stream(hidden, heads)

    def forward(self, img, txt, vec, tables):
        img_mod, txt_mod = (stream.mod(vec).chunk(6, dim=-1) for stream in (self.img, self.txt))
        img_qkv = self.img.qkv_of(img, img_mod[0], img_mod[1], tables)
        txt_qkv = self.txt.qkv_of(txt, txt_mod[0], txt_mod[1], None)
        attn = attention(*(torch.cat(pair, dim=1) for pair in zip(img_qkv, txt_qkv)))
        img_attn, txt_attn = attn[:, : img.shape[1]], attn[:, img.shape[1] :]
        return self.img.after(img, img_attn, *img_mod[2:]), self.txt.after(txt, txt_attn, *txt_mod[2:])


class SingleBlock(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.hidden, self.heads = hidden, heads
        self.linear1, self.linear2 = nn.Linear(hidden, 7 * hidden), nn.Linear(5 * hidden, hidden)
        self.q_norm, self.k_norm = RMSNorm(hidden // heads), RMSNorm(hidden // heads)
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.mod = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 3 * hidden))

    def forward(self, x, vec, tables):
        shift, scale, gate = self.mod(vec).chunk(3, dim=-1)
        qkv, mlp = self.linear1(modulate(self.norm(x), shift, scale)).split([3 * self.hidden, 4 * self.hidden], dim=-1)
        q, k, v = qkv.unflatten(2, (3, self.heads, -1)).unbind(2)
        q, k = self.q_norm(q), self.k_norm(k)
        video = tables[0].shape[0]
        q, k = (torch.cat([rotate(t[:, :video], tables), t[:, video:]], dim=1) for t in (q, k))
        out = self.linear2(torch.cat([attention(q, k, v), F.gelu(mlp, approximate="tanh")], dim=2))
        return x + out * gate.unsqueeze(1)


class RefinerBlock(nn.Module):
    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(hidden, eps=1e-6), nn.LayerNorm(hidden, eps=1e-6)
        self.qkv, self.proj = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.mlp = MLP(hidden, 4 * hidden, hidden, nn.SiLU())
        self.mod = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))

    def forward(self, x, c):
        gate1, gate2 = (gate.unsqueeze(1) for gate in self.mod(c).chunk(2, dim=-1))
        x = x + self.proj(attention(*self.qkv(self.norm1(x)).unflatten(2, (3, self.heads, -1)).unbind(2))) * gate1
        return x + self.mlp(self.norm2(x)) * gate2


class Transformer(nn.Module):
    def __init__(self, hidden, heads, double, single, refiner, text_dim, pooled_dim):
        super().__init__()
        self.img_in = nn.Conv3d(16, hidden, (1, 2, 2), (1, 2, 2))
        self.txt_in = nn.Linear(text_dim, hidden)
        self.txt_time, self.txt_mean = (MLP(n, hidden, hidden, nn.SiLU()) for n in (256, text_dim))
        self.refiner = nn.ModuleList(RefinerBlock(hidden, heads) for _ in range(refiner))
        self.time_in, self.guidance_in = (MLP(256, hidden, hidden, nn.SiLU()) for _ in range(2))
        self.vector_in = MLP(pooled_dim, hidden, hidden, nn.SiLU())
        self.double_blocks = nn.ModuleList(DoubleBlock(hidden, heads) for _ in range(double))
        self.single_blocks = nn.ModuleList(SingleBlock(hidden, heads) for _ in range(single))
        self.norm = nn.LayerNorm(hidden, elementwise_affine=False, eps=1e-6)
        self.final_mod = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))
        self.final = nn.Linear(hidden, 64)
        self.recompute = False

    def run(self, block, *inputs):
        """Recomputed in the backward pass, or not."""
        return checkpoint(block, *inputs, use_reentrant=False) if self.recompute else block(*inputs)

    def forward(self, latents, t, text, pooled, guidance):
        dtype = latents.dtype
        frames, height, width = latents.shape[2:]
        tables = rope_tables((frames, height // 2, width // 2), (16, 56, 56))
        vec = self.time_in(sinusoid(t).to(dtype)) + self.vector_in(pooled) + self.guidance_in(sinusoid(guidance).to(dtype))
        img = self.img_in(latents).flatten(2).transpose(1, 2)
        c = self.txt_time(sinusoid(t).to(dtype)) + self.txt_mean(text.mean(dim=1))
        txt = self.txt_in(text)
        for block in self.refiner:
            txt = block(txt, c)
        for block in self.double_blocks:
            img, txt = self.run(block, img, txt, vec, tables)
        video = img.shape[1]
        x = torch.cat([img, txt], dim=1)
        for block in self.single_blocks:
            x = self.run(block, x, vec, tables)
        shift, scale = self.final_mod(vec).chunk(2, dim=-1)
        x = self.final(modulate(self.norm(x[:, :video]), shift, scale))
        x = x.unflatten(1, (frames, height // 2, width // 2)).unflatten(4, (16, 1, 2, 2))
        return torch.einsum("nthwcopq->nctohpwq", x).reshape(latents.shape)


def made(task, dtype):
    """The model, and what it takes besides latents."""
    sizes = ("hidden", "heads", "double", "single", "refiner", "textDim", "pooledDim")
    model = Transformer(*(task[name] for name in sizes)).to(dtype)
    batch = task["batch"]
    text = torch.randn((batch, task["textTokens"], task["textDim"])).to(dtype)
    pooled = torch.randn((batch, task["pooledDim"])).to(dtype)
    return model, (torch.full((batch,), 700.0), text, pooled, torch.full((batch,), 6000.0))


def dit(task, dtype):
    model, conditions = made(task, dtype)
    model.eval()
    latents = torch.randn((task["batch"], 16, *task["latents"])).to(dtype)
    return lambda: model(latents, *conditions)


def dit_train(task, dtype):
    """Flow matching: the mean squared error of the velocity, its gradients, and a step of all parameters."""
    model, conditions = made(task, dtype)
    model.recompute = task["checkpoint"]
    latents, noise = (torch.randn((task["batch"], 16, *task["latents"])).to(dtype) for _ in range(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step():
        sigma = 0.7
        predicted = model((1 - sigma) * latents + sigma * noise, *conditions)
        F.mse_loss(predicted, noise - latents).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step
