"""The three methods once more, in plain torch over open_clip's modules, straight from the papers'
and programs' description; nothing of vlad's heads, backbones or losses is called."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans

GELU = {"exact": F.gelu, "quick": lambda x: x * torch.sigmoid(1.702 * x)}


def focal(probabilities, target):
    """(B, 2, ...) probabilities of both classes against (B, ...) 0 or 1."""
    onehot = F.one_hot(target.long(), 2).movedim(-1, 1).float().clamp(1e-5, 1 - 1e-5)
    p = (onehot * probabilities).sum(1) + 1e-5
    return (-((1 - p) ** 2) * p.log()).mean()


def dice(p, target):
    p, target = p.reshape(len(p), -1), target.reshape(len(p), -1)
    both = (2 * (p * target).sum(1) + 1) / (p.sum(1) + target.sum(1) + 1)
    return 1 - both.mean()


def to_half(x):
    """float16 values; the gradient is not rounded."""
    return x.detach().half().float() + (x - x.detach())


def block(b, x, act, mask=None):
    y = b.ln_1(x)
    x = x + b.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
    return x + b.mlp.c_proj(GELU[act](b.mlp.c_fc(b.ln_2(x))))


def value_attention(b, x):
    """out_proj(softmax(v vᵀ / √d) v)."""
    heads = b.attn.num_heads
    *_, v = F.linear(b.ln_1(x), b.attn.in_proj_weight, b.attn.in_proj_bias).chunk(3, -1)
    v = v.unflatten(-1, (heads, -1)).transpose(1, 2)
    mixed = (v @ v.transpose(-1, -2) / v.shape[-1] ** 0.5).softmax(-1) @ v
    return b.attn.out_proj(mixed.transpose(1, 2).flatten(2))


def embed_pixels(model, pixels):
    visual = model.visual
    x = visual.conv1(pixels).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(len(x), 1, -1), x], 1)
    return visual.ln_pre(x + visual.positional_embedding)


def embed_text(model, ids, act, context=None, deep=None):
    x = model.token_embedding(ids)
    if context is not None:
        x = torch.cat([x[:, :1], context.expand(len(x), -1, -1), x[:, 1 + len(context) :]], 1)
    x = x + model.positional_embedding
    mask = torch.full((x.shape[1],) * 2, float("-inf")).triu(1)
    for number, b in enumerate(model.transformer.resblocks, 1):
        if deep and number in deep:
            k = len(deep[number])
            x = torch.cat([x[:, :1], deep[number].expand(len(x), -1, -1), x[:, 1 + k :]], 1)
        x = block(b, x, act, mask)
    x = model.ln_final(x)[torch.arange(len(x)), ids.argmax(-1)]
    return x @ model.text_projection


def mean_vector(rows):
    return F.normalize(F.normalize(rows, dim=-1).mean(0), dim=-1)


def up(maps, corners):
    """(B, h·w, 2) -> (B, 2, 64, 64)."""
    side = round(maps.shape[1] ** 0.5)
    maps = maps.transpose(1, 2).unflatten(2, (side, side))
    return F.interpolate(maps, (64, 64), mode="bilinear", align_corners=corners)


def anomalyclip(model, t, pixels, labels, masks, layers, tokenize):
    ids = tokenize([" ".join(["X"] * 12 + [s]) for s in ("object.", "damaged object.")])
    count = sum(name.startswith("deep.") for name in t)
    deep = {2 + i: to_half(t[f"deep.{i}"]) for i in range(count)}
    words = [
        embed_text(model, ids[i : i + 1], "quick", t[f"context.{side}"], deep)[0]
        for i, side in enumerate(("normal", "anomalous"))
    ]
    words = F.normalize(torch.stack(words), dim=-1)
    x = embed_pixels(model, pixels)
    extra, taps = x, {}
    for number, b in enumerate(model.visual.transformer.resblocks, 1):
        extra = extra + value_attention(b, x)
        x = block(b, x, "quick")
        taps[number] = model.visual.ln_post(extra[:, 1:]) @ model.visual.proj
    image = F.normalize(x[:, 0] @ model.visual.proj, dim=-1)
    loss = F.cross_entropy(image @ words.T / 0.07, labels.long())
    for layer in layers:
        p = up((F.normalize(taps[layer], dim=-1) @ words.T / 0.07).softmax(-1), False)
        loss = loss + 4 * (focal(p, masks) + dice(p[:, 1], masks) + dice(p[:, 0], 1 - masks))
    return loss


@torch.no_grad()
def read(model, sides):
    """(2, D) from the token ids of the normal and of the anomalous sentences."""
    return torch.stack([mean_vector(embed_text(model, ids, "exact")) for ids in sides])


def april_gan(model, t, pixels, labels, masks, layers, words):
    with torch.no_grad():
        x, taps = embed_pixels(model, pixels), {}
        for number, b in enumerate(model.visual.transformer.resblocks, 1):
            x = taps[number] = block(b, x, "exact")
    loss = 0
    for i, layer in enumerate(layers):
        seen = taps[layer][:, 1:] @ t[f"projections.{i}.weight"].T + t[f"projections.{i}.bias"]
        p = up(100 * F.normalize(seen, dim=-1) @ words.transpose(1, 2), True).softmax(1)
        loss = loss + focal(p, masks) + dice(p[:, 1], masks)
    return loss


def adaclip(model, t, pixels, labels, masks, layers, texts, clusters):
    def linear(name, x):
        return F.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])

    blocks, visual = model.visual.transformer.resblocks, model.visual
    start = embed_pixels(model, pixels)
    with torch.no_grad():
        x = start
        for b in blocks:
            x = block(b, x, "exact")
        plain = visual.ln_post(x[:, 0]) @ visual.proj
    prompts = {}
    for backbone in ("image", "text"):
        dynamic = torch.stack([linear(f"dynamic.{backbone}.{k}", plain) for k in range(5)], 1)
        for i in range(4):
            prompts[backbone, 1 + i] = to_half(t[f"static.{backbone}.{i}"] + dynamic)
    x, own, taps = start, start.shape[1], {}
    for number, b in enumerate(blocks, 1):
        if number <= 4:
            x = torch.cat([x[:, :own], prompts["image", number]], 1)
        x = block(b, x, "exact")
        taps[number] = x[:, 1:own]
    image = F.normalize(linear("image_projection", visual.ln_post(x[:, 0]) @ visual.proj), dim=-1)
    words = []
    for i, sides in enumerate(texts):
        deep = {n: prompts["text", n][i] for n in (2, 3, 4)}
        words.append([mean_vector(embed_text(model, s, "exact", deep=deep)) for s in sides])
    words = torch.stack([torch.stack(sides) for sides in words]).transpose(1, 2)
    seen = [F.normalize(linear(f"projections.{i}", taps[n]), dim=-1) for i, n in enumerate(layers)]
    logits = [100 * s @ words for s in seen]
    mean = torch.stack(logits).mean(0).softmax(-1)[..., 1]
    fused = []
    for i in range(len(pixels)):
        index = mean[i].topk(min(5 * clusters, mean.shape[1])).indices
        chosen = torch.stack([s[i][index] for s in seen])
        rows = torch.cat(list(chosen), 1).detach().numpy()
        found = torch.from_numpy(KMeans(clusters, n_init="auto", random_state=0).fit_predict(rows))
        centres = [
            chosen[:, found == c].reshape(-1, chosen.shape[-1]).mean(0) for c in found.unique()
        ]
        fused.append(F.normalize(torch.stack(centres).mean(0), dim=-1))
    image = F.normalize(0.2 * torch.stack(fused) + 0.8 * image, dim=-1)
    loss = focal((100 * (image[:, None] @ words)[:, 0]).softmax(-1), labels)
    for layer in logits:
        p = up(layer, True).softmax(1)
        loss = loss + focal(p, masks) + dice(p[:, 1], masks) + dice(p[:, 0], 1 - masks)
    return loss
