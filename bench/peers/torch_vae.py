"""The causal video autoencoder's decoder in plain PyTorch, as the public implementation has it: a padding of its own before
each convolution, the enlarged clip in memory, the middle block's mask in memory.

Inference with random weights, for time and memory only. Clips are [B, C, T, H, W].
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class CausalConv(nn.Module):
    def __init__(self, inner, outer, kernel=3):
        super().__init__()
        rim = kernel // 2
        self.padding = (rim, rim, rim, rim, kernel - 1, 0)
        self.conv = nn.Conv3d(inner, outer, kernel)

    def forward(self, x):
        return self.conv(F.pad(x, self.padding, mode="replicate"))


class Resnet(nn.Module):
    def __init__(self, inner, outer, groups):
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(groups, inner, eps=1e-6), nn.GroupNorm(groups, outer, eps=1e-6)
        self.conv1, self.conv2 = CausalConv(inner, outer), CausalConv(outer, outer)
        self.shortcut = None if inner == outer else CausalConv(inner, outer, 1)

    def forward(self, x):
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return (x if self.shortcut is None else self.shortcut(x)) + h


def frame_mask(frames, frame_tokens, dtype):
    """0 where a token may look, -inf at later frames: one row for each token."""
    frame = torch.arange(frames * frame_tokens) // frame_tokens
    mask = torch.zeros((frames * frame_tokens,) * 2, dtype=dtype)
    return mask.masked_fill_(frame[:, None] < frame[None, :], float("-inf"))[None]


class Attention(nn.Module):
    def __init__(self, width, groups):
        super().__init__()
        self.norm = nn.GroupNorm(groups, width, eps=1e-6)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        batch, width, frames, height, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        normed = self.norm(tokens.transpose(1, 2)).transpose(1, 2)
        q, k, v = (layer(normed).unsqueeze(1) for layer in (self.q, self.k, self.v))
        o = F.scaled_dot_product_attention(q, k, v, attn_mask=frame_mask(frames, height * columns, x.dtype))
        tokens = self.out(o.squeeze(1)) + tokens
        return tokens.transpose(1, 2).reshape(batch, width, frames, height, columns)


class Upsample(nn.Module):
    def __init__(self, width, factors):
        super().__init__()
        self.factors = factors
        self.conv = CausalConv(width, width)

    def forward(self, x):
        first, others = x[:, :, :1], x[:, :, 1:]
        first = F.interpolate(first.squeeze(2), scale_factor=self.factors[1:], mode="nearest").unsqueeze(2)
        if others.shape[2] > 0:
            others = F.interpolate(others, scale_factor=self.factors, mode="nearest")
            first = torch.cat((first, others), dim=2)
        return self.conv(first)


class Decoder(nn.Module):
    def __init__(self, widths, layers, groups, latent_channels):
        super().__init__()
        widest = widths[-1]
        self.post_quant = nn.Conv3d(latent_channels, latent_channels, 1)
        self.conv_in = CausalConv(latent_channels, widest)
        middle = (Resnet(widest, widest, groups), Attention(widest, groups), Resnet(widest, widest, groups))
        blocks = [*middle]
        inner = widest
        factors = [(1, 2, 2), (2, 2, 2), (2, 2, 2), None]
        for width, factor in zip(reversed(widths), factors):
            for _ in range(layers + 1):
                blocks.append(Resnet(inner, width, groups))
                inner = width
            if factor is not None:
                blocks.append(Upsample(width, factor))
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.GroupNorm(groups, inner, eps=1e-6)
        self.conv_out = CausalConv(inner, 3)

    def forward(self, z):
        x = self.blocks(self.conv_in(self.post_quant(z)))
        return self.conv_out(F.silu(self.norm(x)))


def vae_decode(task, dtype):
    model = Decoder(task["widths"], task["layers"], task["groups"], task["channels"]).to(dtype).eval()
    z = torch.randn((1, task["channels"], *task["latents"])).to(dtype)
    return lambda: model(z)
