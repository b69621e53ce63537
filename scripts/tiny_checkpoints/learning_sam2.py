"""Train the tiny SAM or SAM 2.1 checkpoint from scratch on procedural phantoms, on one CPU core.

The bundled weights come from several runs, each resumed from the one before: the first ones of both at 128 pixels and
from earlier forms of this script; from this one, at 128 pixels, SAM's last 47 minutes (--prompts 12) and SAM 2.1's
(--frames 7 --longest 20 --lr 4e-4), both cut off; then, at 192 pixels, 38 minutes of SAM (--lr 4e-4 --ema 0.998) and 42
of SAM 2.1 (--frames 6 --longest 18 --objects 5 --lr 3e-4 --ema 0.998); last, at 256 pixels, 55 of SAM, half of the
phantoms folded and half of those shaded like T1 (--lr 4e-4 --ema 0.998). All on 800 phantoms.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from sam2.modeling.sam2_base import SAM2Base
from scipy import ndimage
from segment_anything.modeling import Sam
from tqdm import tqdm

from nnunetv2_supervoxel import phantoms
from nnunetv2_supervoxel.checkpoints.architectures import Sam2Architecture, SamArchitecture, build_sam, build_sam2
from nnunetv2_supervoxel.checkpoints.loading import load_sam, load_sam2, save_checkpoint
from nnunetv2_supervoxel.generation.intensity import IntensityWindow
from nnunetv2_supervoxel.generation.sam.propagation import IMAGENET_MEAN, IMAGENET_STD
from nnunetv2_supervoxel.phantoms import Phantom, make_folded_phantom, make_phantom

SAM_SIZE, SAM2_SIZE = 256, 192  # pixels
ARCHITECTURES = {
    "sam": SamArchitecture(160, 6, 5, (2, 5), SAM_SIZE, 8, 8, 128, 512, 128),
    "sam2": Sam2Architecture(
        32,
        1,
        (1, 2, 5, 1),
        (6,),
        (8, 4, 8, 4),
        image_size=SAM2_SIZE,
        model_dim=128,
        memory_layers=2,
        memory_feedforward_dim=256,
        rope_theta=30.0,
    ),
}
SHAPES = ((40, 96, 112), (48, 80, 128), (56, 112, 88), (44, 104, 144), (64, 88, 100))
LEVELS = 3  # masks per point, and so levels of a hierarchy of regions that can be told apart
PIXELS = 16  # 4 x 4 sub-pixels of a patch, which the graft carries

Step = Callable[[], tuple[torch.Tensor, float]]


def main() -> None:
    arguments = _parse()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = np.random.default_rng([arguments.seed, arguments.family == "sam2"])
    data = load_pool(arguments.cache, arguments.pool)
    if arguments.family == "sam":
        model = initialise_sam(build_sam(ARCHITECTURES["sam"]))
        step: Step = lambda: sam_step(model, data, rng, arguments.prompts)  # noqa: E731
    else:
        model = initialise_sam2(build_sam2(ARCHITECTURES["sam2"]))
        gate = Gate(model)
        step = lambda: sam2_step(model, gate, data, rng, arguments)  # noqa: E731
    # Evaluation mode throughout: in training mode SAM 2 would not binarise the masks that go into memory.
    model.requires_grad_(True)
    ema = train(model, step, arguments)
    model.load_state_dict(ema)
    save_checkpoint(model, ARCHITECTURES[arguments.family], arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB")


def train(model: torch.nn.Module, step: Step, arguments: argparse.Namespace) -> dict[str, torch.Tensor]:
    """AdamW with warm-up and cosine decay over a time, not a number of steps; returns the averaged weights."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.02}, {"params": others, "weight_decay": 0.0}], betas=(0.9, 0.98)
    )
    if arguments.resume:
        model.load_state_dict(_fitted(_earlier_weights(arguments.family, arguments.resume), model))
    ema = {key: value.clone() for key, value in model.state_dict().items()}
    backup = arguments.output.with_suffix(".pt")
    begin = saved = time.monotonic()
    losses, ious = [], []
    with tqdm(desc=arguments.family, unit="step", disable=None) as bar:
        while (progress := (time.monotonic() - begin) / 60 / arguments.minutes) < 1:
            for group in optimizer.param_groups:
                group["lr"] = arguments.lr * _schedule(progress, arguments.warm_up)
            optimizer.zero_grad(set_to_none=True)
            loss, iou = step()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            bar.update()
            _average(ema, model.state_dict(), min(arguments.ema, bar.n / (bar.n + 20)))
            losses.append(loss.item())
            ious.append(iou)
            if bar.n % 100 == 0:
                bar.set_postfix(loss=np.mean(losses[-100:]), iou=np.mean(ious[-100:]))
            if time.monotonic() - saved > 120:
                _save(ema, backup)
                saved = time.monotonic()
    _save(ema, backup)
    return ema


def _earlier_weights(family: str, name: str) -> dict[str, torch.Tensor]:
    """A backup of this script (.pt), a checkpoint that it made (.safetensors), or "bundled"."""
    if name.endswith(".pt"):
        return torch.load(name, weights_only=True)
    return (load_sam if family == "sam" else load_sam2)(name).model.state_dict()


def _fitted(state: dict[str, torch.Tensor], model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights of a run at another image size: SAM's tables of positions are stretched, nothing else depends on it."""
    fitted = dict(state)
    for key, wanted in model.state_dict().items():
        if key.endswith("pos_embed") and state[key].shape != wanted.shape:  # (1, y, x, c)
            table = state[key].permute(0, 3, 1, 2)
            table = F.interpolate(table, wanted.shape[1:3], mode="bicubic", align_corners=False)
            fitted[key] = table.permute(0, 2, 3, 1)
        elif "rel_pos" in key and state[key].shape != wanted.shape:  # (offset, c)
            fitted[key] = F.interpolate(state[key].T[None], len(wanted), mode="linear", align_corners=False)[0].T
    return fitted


def _schedule(progress: float, warm_up: float) -> float:
    if progress < warm_up:
        return progress / warm_up
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


@torch.no_grad()
def _average(ema: dict[str, torch.Tensor], state: dict[str, torch.Tensor], keep: float) -> None:
    for key, value in state.items():
        ema[key].lerp_(value, 1 - keep)


def _save(state: dict[str, torch.Tensor], path: Path) -> None:
    aside = path.with_suffix(".part")
    torch.save(state, aside)
    os.replace(aside, path)


# ---------------------------------------------------------------------------------------------------------------- data


def load_pool(cache: Path, count: int) -> list[Phantom]:
    """Phantoms, every second folded like a brain, windowed to uint8; made on the first call, kept in `cache`."""
    pool = []
    recipe = hashlib.sha256(inspect.getsource(phantoms).encode()).hexdigest()[:8]
    cache = cache / recipe  # phantoms of another recipe would otherwise pass for these
    for seed in tqdm(range(count), desc="phantoms", disable=None):
        file = cache / f"phantom_{seed}.npz"
        if not file.exists():
            cache.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([77, seed])
            make = make_folded_phantom if seed % 2 else make_phantom
            phantom = make(SHAPES[rng.integers(len(SHAPES))], rng)
            window = IntensityWindow.of(phantom.image[None], (0.5, 99.5))
            image = np.stack([window(plane[None])[0] for plane in phantom.image])
            np.savez(
                file,
                image=np.rint(image * 255).astype(np.uint8),
                labels=phantom.labels.astype(np.uint8),
                parents=np.array(phantom.parents, int),
            )
        with np.load(file) as content:
            pool.append(Phantom(content["image"], content["labels"], tuple(content["parents"].tolist())))
    return pool


def augment_contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma, inversion, range and noise of a uint8 image: float32 in [0, 1]."""
    image = (image / 255) ** np.exp(rng.uniform(-0.5, 0.5))
    if rng.random() < 0.35:
        image = 1 - image
    if rng.random() < 0.5:
        contrast = rng.uniform(0.6, 1)
        image = contrast * image + rng.uniform(0, 1 - contrast)
    if rng.random() < 0.5:
        image = image + rng.normal(0, rng.uniform(0, 0.04), image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def turn_and_crop(arrays: tuple[np.ndarray, ...], rng: np.random.Generator, smallest: float) -> tuple[np.ndarray, ...]:
    """The same quarter turn, flip and crop of the last two axes for all arrays."""
    turns, flip = rng.integers(4), rng.random() < 0.5
    arrays = tuple(np.rot90(array, turns, (-2, -1)) for array in arrays)
    if flip:
        arrays = tuple(np.flip(array, -1) for array in arrays)
    if rng.random() < 0.5:
        height, width = arrays[0].shape[-2:]
        share = rng.uniform(smallest, 1)
        h, w = int(height * share), int(width * min(1, share * rng.uniform(0.85, 1.15)))
        y, x = rng.integers(height - h + 1), rng.integers(width - w + 1)
        arrays = tuple(array[..., y : y + h, x : x + w] for array in arrays)
    return tuple(np.ascontiguousarray(array) for array in arrays)


# ----------------------------------------------------------------------------------------------------------------- SAM


@dataclass
class PointSample:
    """One slice and points on it.

    Attributes:
        image: (h, w) in [0, 1], the longest side being SAM_SIZE.
        points: (n, 2) as (x, y).
        targets: (n, LEVELS, SAM_SIZE, SAM_SIZE), 1 inside: from a point's own region to the wholes that hold it.
        levels: (n,) how many of them there are; the last is repeated, and a point on background has none.
    """

    image: torch.Tensor
    points: torch.Tensor
    targets: torch.Tensor
    levels: torch.Tensor


def draw_points(data: list[Phantom], rng: np.random.Generator, prompts: int) -> PointSample:
    """A slice with three quarters of the points on objects, any size as likely as another, the rest on background."""
    while True:
        phantom = data[rng.integers(len(data))]
        z = rng.integers(len(phantom.image))
        image, labels = turn_and_crop((phantom.image[z], phantom.labels[z]), rng, 0.5)
        scale = SAM_SIZE / max(image.shape)
        size = [int(side * scale + 0.5) for side in image.shape]
        labels = F.interpolate(torch.from_numpy(labels.astype(np.float32))[None, None], size)[0, 0].numpy().astype(int)
        present = np.flatnonzero(np.bincount(labels.ravel()) >= (60 if rng.random() < 0.85 else 15))
        present = present[present > 0]
        if not len(present):
            continue
        pixels = torch.from_numpy(augment_contrast(image, rng))[None, None]
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)[0, 0]
        points = np.zeros((prompts, 2), int)
        targets, levels = np.zeros((prompts, LEVELS, SAM_SIZE, SAM_SIZE), np.float32), np.zeros(prompts, int)
        for index in range(prompts):
            wanted = labels == rng.choice(present) if index < prompts * 3 / 4 else labels == 0
            rows, columns = np.nonzero(wanted if wanted.any() else labels >= 0)
            chosen = rng.integers(len(rows))
            y, x = int(rows[chosen]), int(columns[chosen])
            points[index] = x, y
            meant = _targets_at(Phantom(image, labels, phantom.parents), y, x)
            levels[index] = len(meant)
            for level in range(LEVELS if meant else 0):
                targets[index, level, : size[0], : size[1]] = meant[min(level, len(meant) - 1)]
        if levels.any():
            return PointSample(
                pixels, torch.from_numpy(points).float(), torch.from_numpy(targets), torch.from_numpy(levels)
            )


def _targets_at(slice_: Phantom, y: int, x: int) -> list[np.ndarray]:
    """What a click may mean: the connected region there, that with all nested in it, the same of what surrounds it."""
    targets: list[np.ndarray] = []
    label = int(slice_.labels[y, x])
    while label:
        for members in ([label], slice_.family(label)):
            components, _ = ndimage.label(np.isin(slice_.labels, members))
            target = components == components[y, x]
            if components[y, x] and target.sum() >= 40 and not any(np.array_equal(target, t) for t in targets):
                targets.append(target)
        label = slice_.parents[label - 1]
    return targets[:LEVELS]


def sam_step(model: Sam, data: list[Phantom], rng: np.random.Generator, prompts: int) -> tuple[torch.Tensor, float]:
    """Loss of one slice, and the mean IoU of the first masks with the points' own regions.

    Mask k learns level k. The usual loss, that of each point's best mask only, lets all masks settle on the largest
    object for thousands of steps.
    """
    sample = draw_points(data, rng, prompts)
    height, width = sample.image.shape
    embedding = model.image_encoder(model.preprocess((sample.image * 255).round().expand(3, -1, -1))[None])
    points = sample.points[:, None] + torch.rand(len(sample.points), 1, 2) - 0.5
    sparse, dense = model.prompt_encoder(points=(points, torch.ones(points.shape[:2])), boxes=None, masks=None)
    masks, predicted = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    side = masks.shape[-1]
    inside = torch.zeros(side, side, dtype=torch.bool)
    inside[: round(height * side / SAM_SIZE), : round(width * side / SAM_SIZE)] = True
    masks = torch.where(inside, masks, masks.new_tensor(-8.0))  # what is predicted on the padding is cut off

    targets, known = F.avg_pool2d(sample.targets, SAM_SIZE // side), sample.levels > 0
    exists = torch.arange(LEVELS) < sample.levels[:, None]
    weights = torch.where(exists, torch.tensor([1.5, 0.75, 0.5]), 0.2) * known[:, None]
    loss = (weights * mask_loss(masks, targets)).sum() / known.sum()
    quality = iou(masks.detach()[:, :, None], targets[:, None])  # (n, mask, level)
    loss = loss + 3 * F.mse_loss(predicted, quality.amax(dim=2))
    return loss + 0.3 * _affinity_loss(embedding[0], sample), quality[known, 0, 0].mean().item()


def _affinity_loss(embedding: torch.Tensor, sample: PointSample) -> torch.Tensor:
    """The embedding (c, g, g) alike within a point's own region, unlike elsewhere: what a point can be matched with.

    Without it, masks stay the same for all points of an image for thousands of steps.
    """
    grid, known = embedding.shape[-1], sample.levels > 0
    cells = ((sample.points[known] + 0.5) * grid / SAM_SIZE).long().clamp(0, grid - 1)
    unit = F.normalize(embedding, dim=0)
    alike = torch.einsum("cn,cyx->nyx", unit[:, cells[:, 1], cells[:, 0]], unit)
    return mask_loss(10 * alike - 6, F.avg_pool2d(sample.targets[known, 0], SAM_SIZE // grid)).mean()


def initialise_sam(model: Sam) -> Sam:
    """Tie queries and keys, so that a point looks at its own place, and let places speak louder than content."""
    decoder, prompts, encoder = model.mask_decoder, model.prompt_encoder, model.image_encoder
    layers = decoder.transformer.layers
    crossing = [decoder.transformer.final_attn_token_to_image]
    crossing += [a for layer in layers for a in (layer.cross_attn_token_to_image, layer.cross_attn_image_to_token)]
    with torch.no_grad():
        torch.nn.init.trunc_normal_(encoder.pos_embed, std=0.02)
        for attention in crossing:
            torch.nn.init.orthogonal_(attention.q_proj.weight, gain=2.0)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
        for embedding in (*prompts.point_embeddings, prompts.not_a_point_embed, prompts.no_mask_embed):
            embedding.weight.mul_(0.1)
        for norm in (encoder.neck[3], *(layer.norm4 for layer in layers)):
            norm.weight.fill_(0.35)
        _graft_into_encoder(model)
        _graft_into_decoder(model)
    return model


def _graft_into_encoder(model: Sam) -> None:
    """Carry the mean intensities of a patch's 4 x 4 parts untouched through the encoder, as its first 16 channels."""
    encoder = model.image_encoder
    patch = encoder.patch_embed.proj
    part = patch.weight.shape[-1] // 4
    silenced = [block_part for block in encoder.blocks for block_part in (block.attn.proj, block.mlp.lin2)]
    for layer in (patch, *silenced):
        layer.weight[:PIXELS] = 0
        layer.bias[:PIXELS] = 0
    encoder.pos_embed[..., :PIXELS] = 0
    narrow, smooth = encoder.neck[0], encoder.neck[2]
    narrow.weight[:PIXELS] = 0
    smooth.weight[:PIXELS] = 0
    for index in range(PIXELS):
        row, column = divmod(index, 4)
        rows, columns = slice(row * part, (row + 1) * part), slice(column * part, (column + 1) * part)
        patch.weight[index, :, rows, columns] = 1 / (3 * part**2)
        narrow.weight[index, index] = 1
        smooth.weight[index, index, 1, 1] = 1
    encoder.neck[3].weight[:PIXELS] = 1


def _graft_into_decoder(model: Sam) -> None:
    """Bring those channels to the places where they belong in the upscaled mask features: bright, and dark."""
    decoder = model.mask_decoder
    for layer in decoder.transformer.layers:
        layer.norm4.weight[:PIXELS] = 1
        layer.cross_attn_image_to_token.out_proj.weight[:PIXELS] = 0
        layer.cross_attn_image_to_token.out_proj.bias[:PIXELS] = 0
    first, second = decoder.output_upscaling[0], decoder.output_upscaling[3]
    first.weight[:, :8] = 0
    first.bias[:8] = 0
    second.weight[:, :2] = 0
    second.bias[:2] = 0
    for index in range(PIXELS):
        row, column = divmod(index, 4)
        corner = row % 2 * 2 + column % 2
        first.weight[index, corner, row // 2, column // 2] = 1
        first.weight[index, 4 + corner, row // 2, column // 2] = -1
    for corner in range(4):
        second.weight[corner, 0, corner // 2, corner % 2] = 1
        second.weight[4 + corner, 1, corner // 2, corner % 2] = 1
    for head in decoder.output_hypernetworks_mlps:
        head.layers[-1].weight[:2] = 0
        head.layers[-1].bias[:2] = 0


# --------------------------------------------------------------------------------------------------------------- SAM 2


@dataclass
class Sequence:
    """Slices and the objects that are on the first.

    Attributes:
        images: (t, 3, SAM2_SIZE, SAM2_SIZE), normalised.
        masks: (n, t, SAM2_SIZE, SAM2_SIZE), 1 inside.
        seeds: (n, SAM2_SIZE, SAM2_SIZE), 0 or 1, the first masks as imprecise as SAM's would be.
    """

    images: torch.Tensor
    masks: torch.Tensor
    seeds: torch.Tensor


def draw_sequence(data: list[Phantom], rng: np.random.Generator, frames: int, objects: int) -> Sequence:
    """Slices of a phantom in either direction, one to three apart, with up to `objects` of those on the first."""
    while True:
        phantom = data[rng.integers(len(data))]
        stride = rng.choice([1, 1, 1, 2, 3])
        span = (frames - 1) * stride + 1
        if len(phantom.image) < span:
            continue
        chosen = rng.integers(len(phantom.image) - span + 1) + np.arange(frames) * stride
        if rng.random() < 0.5:
            chosen = chosen[::-1]
        image, labels = turn_and_crop((phantom.image[chosen], phantom.labels[chosen]), rng, 0.6)
        known = [mask for mask in Phantom(image, labels, phantom.parents).objects if mask[0].sum() >= 25]
        if not known:
            continue
        known = [_largest_on_first(known[i]) for i in rng.permutation(len(known))]
        if rng.random() < 0.5:  # ends are where tracks go astray
            known.sort(key=lambda mask: mask[-1].any())
        known = known[:objects]
        pixels = _to_square(torch.from_numpy(augment_contrast(image, rng))[:, None]).expand(-1, 3, -1, -1)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        masks = _to_square(torch.from_numpy(np.stack(known).astype(np.float32)))
        seeds = torch.stack([_imprecise(mask, rng) for mask in masks[:, 0]])
        return Sequence((pixels - mean) / std, masks, (seeds >= 0.5).float())


def _largest_on_first(mask: np.ndarray) -> np.ndarray:
    """Of an object in pieces (t, h, w), the 3D piece that holds the largest 2D piece on the first slice."""
    flat, pieces = ndimage.label(mask[0])
    if pieces == 1:
        return mask
    solid, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return solid == solid[0][flat == np.bincount(flat.ravel())[1:].argmax() + 1][0]


def _imprecise(mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The mask (SAM2_SIZE, SAM2_SIZE), at times a pixel wider or narrower."""
    chance = rng.random()
    if chance < 0.2:
        return F.max_pool2d(mask[None], 3, 1, 1)[0]
    if chance < 0.35:
        narrower = -F.max_pool2d(-mask[None], 3, 1, 1)[0]
        return narrower if (narrower > 0.5).sum() > 20 else mask
    return mask


def _to_square(stack: torch.Tensor) -> torch.Tensor:
    return F.interpolate(stack, size=(SAM2_SIZE, SAM2_SIZE), mode="bilinear", align_corners=False, antialias=True)


class Gate:
    """Replaces SAM 2's object scores with the truth, and keeps them for their own loss.

    The model blanks masks of a negative score; a wrong score would leave the mask without a gradient.
    """

    def __init__(self, model: SAM2Base) -> None:
        self.present: torch.Tensor | None = None
        self.scores: torch.Tensor | None = None
        model.sam_mask_decoder.register_forward_hook(self._replace)

    def _replace(self, module: torch.nn.Module, inputs: tuple, output: tuple) -> tuple:
        masks, predicted, tokens, self.scores = output
        true = torch.where(self.present[:, None], torch.full_like(self.scores, 10.0), self.scores.detach())
        return masks, predicted, tokens, true


def sam2_step(
    model: SAM2Base, gate: Gate, data: list[Phantom], rng: np.random.Generator, arguments: argparse.Namespace
) -> tuple[torch.Tensor, float]:
    """Loss of some sequences, tracked as one batch of objects, and the mean IoU of the masks that the model chose."""
    frames = int(rng.integers(3, (arguments.frames if rng.random() < 0.6 else arguments.longest) + 1))
    unlearned = max(0, frames - arguments.frames)  # frames after the first that run without gradient
    sequences = [draw_sequence(data, rng, frames, arguments.objects) for _ in range(arguments.batch)]
    owners = torch.cat([torch.full((len(s.masks),), index) for index, s in enumerate(sequences)])
    masks, seeds = torch.cat([s.masks for s in sequences]), torch.cat([s.seeds for s in sequences])
    images = torch.stack([s.images for s in sequences])  # (batch, frames, 3, SAM2_SIZE, SAM2_SIZE)
    learned = [0, *range(unlearned + 1, frames)]
    encoded = _encode(model, images[:, learned])
    with torch.no_grad():
        skipped = _encode(model, images[:, 1 : unlearned + 1]) if unlearned else None

    def features(frame: int) -> tuple[list[torch.Tensor], list[torch.Tensor], list[tuple[int, int]]]:
        (vision, positions, sizes), position, count = (
            (encoded, learned.index(frame), len(learned)) if frame in learned else (skipped, frame - 1, unlearned)
        )
        chosen = owners * count + position
        return [v[:, chosen] for v in vision], [p[:, chosen] for p in positions], sizes

    gate.present = torch.ones(len(owners), dtype=torch.bool)
    outputs = {"cond_frame_outputs": {0: _seed(model, features(0), seeds, frames)}, "non_cond_frame_outputs": {}}
    losses, ious = [], []
    for frame in range(1, frames):
        gate.present = (masks[:, frame] > 0.5).flatten(1).sum(dim=1) >= 8
        with torch.set_grad_enabled(frame > unlearned):
            loss, chosen = _track(model, gate, features(frame), masks[:, frame], outputs, frame, frames)
        if frame > unlearned:
            losses.append(loss)
            ious += chosen
    return torch.stack(losses).mean(), float(np.mean(ious)) if ious else 0.0


def _encode(model: SAM2Base, images: torch.Tensor) -> tuple:
    """Vision features, their positions and sizes of images (batch, frames, 3, SAM2_SIZE, SAM2_SIZE)."""
    return model._prepare_backbone_features(model.forward_image(images.flatten(0, 1)))[1:]


def _seed(model: SAM2Base, features: tuple, seeds: torch.Tensor, frames: int) -> dict:
    """The first frame's output, its memory encoded as `generation.propagation` does."""
    vision, positions, sizes = features
    output = model.track_step(
        frame_idx=0,
        is_init_cond_frame=True,
        current_vision_feats=vision,
        current_vision_pos_embeds=positions,
        feat_sizes=sizes,
        point_inputs=None,
        mask_inputs=seeds[:, None],
        output_dict={"cond_frame_outputs": {}, "non_cond_frame_outputs": {}},
        num_frames=frames,
        run_mem_encoder=False,
    )
    output["maskmem_features"], output["maskmem_pos_enc"] = model._encode_new_memory(
        current_vision_feats=vision,
        feat_sizes=sizes,
        pred_masks_high_res=F.interpolate(
            output["pred_masks"], (SAM2_SIZE, SAM2_SIZE), mode="bilinear", align_corners=False
        ),
        object_score_logits=output["object_score_logits"],
        is_mask_from_pts=True,
    )
    return output


def _track(
    model: SAM2Base,
    gate: Gate,
    features: tuple,
    target: torch.Tensor,
    outputs: dict,
    frame: int,
    frames: int,
) -> tuple[torch.Tensor, list[float]]:
    """One frame: its loss, and the IoUs of the chosen masks; in parts, for `track_step` returns one mask only."""
    vision, positions, sizes = features
    current, heads, _, _ = model._track_step(
        frame, False, vision, positions, sizes, None, None, outputs, frames, False, None
    )
    masks, _, predicted, low, high, pointer, score = heads
    current.update(pred_masks=low, obj_ptr=pointer, object_score_logits=score)
    model._encode_memory_in_output(vision, sizes, None, True, high, score, current)
    outputs["non_cond_frame_outputs"][frame] = current

    area = (target > 0.5).flatten(1).sum(dim=1)
    sure = (area == 0) | (area >= 20)
    presence = F.binary_cross_entropy_with_logits(gate.scores[:, 0], gate.present.float(), reduction="none")
    loss = (presence * sure).mean()
    if not gate.present.any():
        return loss, []
    soft = F.avg_pool2d(target[gate.present][:, None], 2)
    masks = F.interpolate(masks[gate.present], scale_factor=2, mode="bilinear", align_corners=False)
    predicted = predicted[gate.present]
    cost, quality = mask_loss(masks, soft), iou(masks.detach(), soft)
    loss = loss + 0.7 * cost.min(dim=1).values.mean() + 0.3 * cost.mean() + 0.5 * F.l1_loss(predicted, quality)
    return loss, quality.gather(1, predicted.argmax(dim=1, keepdim=True))[:, 0].tolist()


def initialise_sam2(model: SAM2Base) -> SAM2Base:
    """Open the object-score gate, and let attention to memory begin at the same place."""
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)
        for layer in model.memory_attention.layers:
            layer.cross_attn_image.q_proj.bias.fill_(1.2)
            layer.cross_attn_image.k_proj.bias.fill_(1.2)
        for layer in model.memory_encoder.fuser.layers:
            layer.gamma.fill_(0.3)
    return model


# -------------------------------------------------------------------------------------------------------------- shared


def mask_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Focal cross-entropy plus Dice of (..., h, w), the target soft and broadcast; without the last two axes."""
    target = target.expand_as(logits)
    probability = logits.sigmoid()
    hit = probability * target + (1 - probability) * (1 - target)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (entropy * (1.3 - hit) ** 1.5).mean((-1, -2))
    both, sizes = (probability * target).sum((-1, -2)), (probability**2 + target**2).sum((-1, -2))
    return 6 * focal + 1 - (2 * both + 1) / (sizes + 1)


def iou(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Intersection over union of thresholded (..., h, w), both broadcast; without the last two axes."""
    a, b = logits > 0, target > 0.5
    return (a & b).sum((-1, -2)) / (a | b).sum((-1, -2)).clamp(min=1)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("family", choices=("sam", "sam2"), help="which of the two")
    parser.add_argument("output", type=Path, help=".safetensors to write; a .pt beside it is kept for --resume")
    parser.add_argument("--minutes", type=float, default=120, help="how long; the learning rate falls over this time")
    parser.add_argument("--lr", type=float, default=5e-4, help="highest learning rate")
    parser.add_argument("--warm-up", type=float, default=0.02, help="share of the time in which it rises")
    parser.add_argument("--ema", type=float, default=0.998, help="decay of the averaged weights")
    parser.add_argument("--prompts", type=int, default=8, help="SAM: points per step, all on one slice")
    parser.add_argument("--batch", type=int, default=2, help="SAM 2: sequences per step")
    parser.add_argument("--frames", type=int, default=8, help="SAM 2: frames learned from; start with 4")
    parser.add_argument(
        "--longest",
        type=int,
        default=8,
        help="SAM 2: longest sequence; more than --frames: the first run without gradient",
    )
    parser.add_argument("--objects", type=int, default=6, help="SAM 2: most objects tracked per sequence")
    parser.add_argument("--pool", type=int, default=400, help="number of phantoms")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/nnunetv2_supervoxel_phantoms"), help="where they lie")
    parser.add_argument("--resume", help="go on from an earlier run: a .pt backup, a .safetensors, or bundled")
    parser.add_argument("--seed", type=int, default=0, help="random seed")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    arguments = parser.parse_args()
    if not 3 <= arguments.frames <= arguments.longest:
        parser.error("--frames must be at least 3, and --longest not below it")
    return arguments


if __name__ == "__main__":
    main()
