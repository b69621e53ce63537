"""SAM: its architecture, what it learns from, its loss, and how its weights begin."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from augmentation import augment_contrast, turn_and_crop
from losses import iou, mask_loss
from scipy import ndimage
from segment_anything.modeling import Sam

from nnunetv2_supervoxel.checkpoints.architectures import SamArchitecture, build_sam
from nnunetv2_supervoxel.phantoms import Phantom

SIZE = 256  # pixels
ARCHITECTURE = SamArchitecture(160, 6, 5, (2, 5), SIZE, 8, 8, 128, 512, 128)
LEVELS = 3  # masks per point, and so the most nested regions that a point can mean
PIXELS = 16  # 4 x 4 sub-pixels of a patch, which the graft carries


@dataclass
class PointSample:
    """One slice and points on it.

    Attributes:
        image: (h, w) in [0, 1]. The longest side is SIZE.
        points: (n, 2) as (x, y).
        targets: (n, LEVELS, SIZE, SIZE), 1 inside. They go from a point's own region to the wholes that hold it, and
            the last of these is repeated.
        levels: (n,) how many of them differ. A point on background has 0.
    """

    image: torch.Tensor
    points: torch.Tensor
    targets: torch.Tensor
    levels: torch.Tensor

    def to(self, device: torch.device) -> PointSample:
        """The same sample on a device."""
        return PointSample(*(getattr(self, part.name).to(device) for part in fields(self)))


def draw_points(phantoms: list[Phantom], rng: np.random.Generator, prompts: int) -> PointSample:
    """Draw a slice and points on it: three quarters on objects, the rest on background.

    All objects of the slice are equally likely, whatever their size.
    """
    while True:
        phantom = phantoms[rng.integers(len(phantoms))]
        z = rng.integers(len(phantom.image))
        image, labels = turn_and_crop((phantom.image[z], phantom.labels[z]), rng, 0.5)
        scale = SIZE / max(image.shape)
        size = [int(side * scale + 0.5) for side in image.shape]
        labels = F.interpolate(torch.from_numpy(labels.astype(np.float32))[None, None], size)[0, 0].numpy().astype(int)
        present = np.flatnonzero(np.bincount(labels.ravel()) >= (60 if rng.random() < 0.85 else 15))
        present = present[present > 0]
        if not len(present):
            continue
        pixels = torch.from_numpy(augment_contrast(image, rng))[None, None]
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)[0, 0]
        points = np.zeros((prompts, 2), int)
        targets, levels = np.zeros((prompts, LEVELS, SIZE, SIZE), np.float32), np.zeros(prompts, int)
        for index in range(prompts):
            y, x = _draw_pixel(labels == (rng.choice(present) if index < prompts * 3 / 4 else 0), rng)
            points[index] = x, y
            meant = _targets_at(Phantom(image, labels, phantom.parents), y, x)
            levels[index] = len(meant)
            for level in range(LEVELS if meant else 0):
                targets[index, level, : size[0], : size[1]] = meant[min(level, len(meant) - 1)]
        if levels.any():
            return PointSample(
                pixels, torch.from_numpy(points).float(), torch.from_numpy(targets), torch.from_numpy(levels)
            )


def _draw_pixel(inside: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Row and column of a pixel inside, or of any pixel if nothing is."""
    rows, columns = np.nonzero(inside if inside.any() else np.ones_like(inside))
    chosen = rng.integers(len(rows))
    return int(rows[chosen]), int(columns[chosen])


def _targets_at(slice_: Phantom, y: int, x: int) -> list[np.ndarray]:
    """What a click may mean, from small to large; at most LEVELS masks.

    The smallest is the connected region at the click. Next comes this region with all that is nested in it. Then come
    the same two of the region around it, and so on.
    """
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


def step(model: Sam, sample: PointSample) -> tuple[torch.Tensor, float]:
    """Loss of one slice, and the mean IoU of the first masks with the points' own regions.

    Mask k learns level k. The usual loss counts only the best mask of each point. With it, all masks settle on the
    largest object for thousands of steps.
    """
    sample = sample.to(model.device)
    embedding, masks, predicted = _forward(model, sample)
    targets, known = F.avg_pool2d(sample.targets, SIZE // masks.shape[-1]), sample.levels > 0
    exists = torch.arange(LEVELS, device=known.device) < sample.levels[:, None]
    weights = torch.where(exists, torch.tensor([1.5, 0.75, 0.5], device=known.device), 0.2) * known[:, None]
    loss = (weights * mask_loss(masks, targets)).sum() / known.sum()
    quality = iou(masks.detach()[:, :, None], targets[:, None])  # (n, mask, level)
    loss = loss + 3 * F.mse_loss(predicted, quality.amax(dim=2))
    return loss + 0.3 * _affinity_loss(embedding, sample), quality[known, 0, 0].mean().item()


def _forward(model: Sam, sample: PointSample) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The slice's embedding (c, g, g), masks (n, LEVELS, side, side) and their predicted IoUs (n, LEVELS)."""
    height, width = sample.image.shape
    embedding = model.image_encoder(model.preprocess((sample.image * 255).round().expand(3, -1, -1))[None])
    points = sample.points[:, None] + torch.rand(len(sample.points), 1, 2, device=model.device) - 0.5
    sparse, dense = model.prompt_encoder(
        points=(points, torch.ones(points.shape[:2], device=model.device)), boxes=None, masks=None
    )
    masks, predicted = model.mask_decoder(
        image_embeddings=embedding,
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    side = masks.shape[-1]
    inside = torch.zeros(side, side, dtype=torch.bool, device=model.device)
    inside[: round(height * side / SIZE), : round(width * side / SIZE)] = True
    # SAM cuts off what it predicts on the padding.
    return embedding[0], torch.where(inside, masks, masks.new_tensor(-8.0)), predicted


def _affinity_loss(embedding: torch.Tensor, sample: PointSample) -> torch.Tensor:
    """Makes the embedding (c, g, g) alike within a point's own region and unlike elsewhere.

    A point can be matched with such an embedding. Without this loss, all points of an image get the same masks for
    thousands of steps.
    """
    grid, known = embedding.shape[-1], sample.levels > 0
    cells = ((sample.points[known] + 0.5) * grid / SIZE).long().clamp(0, grid - 1)
    unit = F.normalize(embedding, dim=0)
    alike = torch.einsum("cn,cyx->nyx", unit[:, cells[:, 1], cells[:, 0]], unit)
    return mask_loss(10 * alike - 6, F.avg_pool2d(sample.targets[known, 0], SIZE // grid)).mean()


def new_model() -> Sam:
    """An untrained model with the weights from which it learns fast.

    Queries and keys are tied, so that a point looks at its own place. Places have more influence than content.
    """
    model = build_sam(ARCHITECTURE)
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
    """Let the first 16 channels carry the mean intensities of a patch's 4 x 4 parts through the encoder, unchanged."""
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
    """Bring these channels to their places in the upscaled mask features: once as they are, once negated."""
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
