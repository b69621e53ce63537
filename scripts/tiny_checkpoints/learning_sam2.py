"""SAM 2: its architecture, what it learns from, its loss, and how its weights begin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from augmentation import augment_contrast, turn_and_crop
from losses import iou, mask_loss
from sam2.modeling.sam2_base import SAM2Base
from scipy import ndimage

from nnunetv2_supervoxel.checkpoints.architectures import Sam2Architecture, build_sam2
from nnunetv2_supervoxel.generation.sam.encoding import IMAGENET_MEAN, IMAGENET_STD
from nnunetv2_supervoxel.phantoms import Phantom

SIZE = 192  # pixels
ARCHITECTURE = Sam2Architecture(
    32,
    1,
    (1, 2, 5, 1),
    (6,),
    (8, 4, 8, 4),
    image_size=SIZE,
    model_dim=128,
    memory_layers=2,
    memory_feedforward_dim=256,
    rope_theta=30.0,
)


@dataclass(frozen=True)
class Sampling:
    """How much is drawn for a step.

    Attributes:
        sequences: tracked together, as one batch of objects.
        frames: most frames that a sequence is learned from.
        longest: most frames of a sequence. Of a sequence longer than `frames`, the surplus after the first frame runs
            without gradient.
        objects: most objects tracked per sequence.
    """

    sequences: int
    frames: int
    longest: int
    objects: int


@dataclass
class Sequence:
    """Slices and the objects that are on the first.

    Attributes:
        images: (t, 3, SIZE, SIZE), normalised.
        masks: (n, t, SIZE, SIZE), 1 inside.
        seeds: (n, SIZE, SIZE), 0 or 1, the first masks as imprecise as SAM's would be.
    """

    images: torch.Tensor
    masks: torch.Tensor
    seeds: torch.Tensor


def draw_sequences(phantoms: list[Phantom], sampling: Sampling, rng: np.random.Generator) -> list[Sequence]:
    """Draw what is tracked together: sequences of the same length."""
    frames = int(rng.integers(3, (sampling.frames if rng.random() < 0.5 else sampling.longest) + 1))
    return [draw_sequence(phantoms, rng, frames, sampling.objects) for _ in range(sampling.sequences)]


def draw_sequence(phantoms: list[Phantom], rng: np.random.Generator, frames: int, objects: int) -> Sequence:
    """Draw slices of a phantom in either direction, one to three apart, and up to `objects` objects of the first."""
    while True:
        phantom = phantoms[rng.integers(len(phantoms))]
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
        if rng.random() < 0.5:  # tracks fail most at the ends of objects
            known.sort(key=lambda mask: mask[-1].any())
        known = known[:objects]
        pixels = _to_square(torch.from_numpy(augment_contrast(image, rng))[:, None]).expand(-1, 3, -1, -1)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        masks = _to_square(torch.from_numpy(np.stack(known).astype(np.float32)))
        seeds = torch.stack([_imprecise(mask, rng) for mask in masks[:, 0]])
        return Sequence((pixels - mean) / std, masks, (seeds >= 0.5).float())


def _largest_on_first(mask: np.ndarray) -> np.ndarray:
    """One piece of an object (t, h, w): the 3D piece that holds the largest 2D piece on the first slice."""
    flat, pieces = ndimage.label(mask[0])
    if pieces == 1:
        return mask
    solid, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    return solid == solid[0][flat == np.bincount(flat.ravel())[1:].argmax() + 1][0]


def _imprecise(mask: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The mask (SIZE, SIZE), sometimes a pixel wider or narrower."""
    chance = rng.random()
    if chance < 0.2:
        return F.max_pool2d(mask[None], 3, 1, 1)[0]
    if chance < 0.35:
        narrower = -F.max_pool2d(-mask[None], 3, 1, 1)[0]
        return narrower if (narrower > 0.5).sum() > 20 else mask
    return mask


def _to_square(stack: torch.Tensor) -> torch.Tensor:
    """Images (a, b, h, w), resized to (a, b, SIZE, SIZE)."""
    return F.interpolate(stack, size=(SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)


class Gate:
    """Replaces SAM 2's object scores with the truth, and keeps them for their own loss.

    The model blanks masks of a negative score, and a blank mask has no gradient. So a wrong score would keep the model
    from learning.

    Attributes:
        present: (n,) boolean, which objects are on the frame; to be set before every frame.
        scores: (n, 1), what the model predicted.
    """

    def __init__(self, model: SAM2Base) -> None:
        self.present: torch.Tensor | None = None
        self.scores: torch.Tensor | None = None
        model.sam_mask_decoder.register_forward_hook(self._replace)

    def _replace(self, module: torch.nn.Module, inputs: tuple, output: tuple) -> tuple:
        masks, predicted, tokens, self.scores = output
        truth = torch.where(self.present[:, None], torch.full_like(self.scores, 10.0), self.scores.detach())
        return masks, predicted, tokens, truth


def step(model: SAM2Base, gate: Gate, sampling: Sampling, sequences: list[Sequence]) -> tuple[torch.Tensor, float]:
    """Loss of some sequences, tracked as one batch of objects, and the mean IoU of the masks that the model chose."""
    device, frames = model.device, len(sequences[0].images)
    unlearned = max(0, frames - sampling.frames)  # frames after the first that run without gradient
    owners = torch.cat([torch.full((len(s.masks),), index) for index, s in enumerate(sequences)]).to(device)
    masks, seeds = (torch.cat([getattr(s, part) for s in sequences]).to(device) for part in ("masks", "seeds"))
    features = _Features(model, torch.stack([s.images for s in sequences]).to(device), owners, unlearned)

    gate.present = torch.ones(len(owners), dtype=torch.bool, device=device)
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


class _Features:
    """A function of a frame's number that returns vision features, their positions and sizes, one for every object.

    Args:
        model: encodes all frames, at once.
        images: (sequences, frames, 3, SIZE, SIZE).
        owners: (n,) the sequence of every object.
        unlearned: so many frames after the first are encoded without gradient.
    """

    def __init__(self, model: SAM2Base, images: torch.Tensor, owners: torch.Tensor, unlearned: int) -> None:
        self._owners, self._unlearned = owners, unlearned
        self._learned = [0, *range(unlearned + 1, images.shape[1])]
        self._encoded = _encode(model, images[:, self._learned])
        with torch.no_grad():
            self._skipped = _encode(model, images[:, 1 : unlearned + 1]) if unlearned else None

    def __call__(self, frame: int) -> tuple[list[torch.Tensor], list[torch.Tensor], list[tuple[int, int]]]:
        if frame in self._learned:
            encoded, position, count = self._encoded, self._learned.index(frame), len(self._learned)
        else:
            encoded, position, count = self._skipped, frame - 1, self._unlearned
        vision, positions, sizes = encoded
        chosen = self._owners * count + position
        return [v[:, chosen] for v in vision], [p[:, chosen] for p in positions], sizes


def _encode(model: SAM2Base, images: torch.Tensor) -> tuple:
    """Vision features, their positions and sizes of images (sequences, frames, 3, SIZE, SIZE)."""
    return model._prepare_backbone_features(model.forward_image(images.flatten(0, 1)))[1:]


def _seed(model: SAM2Base, features: tuple, seeds: torch.Tensor, frames: int) -> dict:
    """The first frame's output. Its memory is encoded as `generation.sam.propagation` does."""
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
        pred_masks_high_res=F.interpolate(output["pred_masks"], (SIZE, SIZE), mode="bilinear", align_corners=False),
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
    """Track one frame: its loss, and the IoUs of the chosen masks.

    This calls the parts of the model's `track_step`, which itself returns one mask only.
    """
    vision, positions, sizes = features
    current, heads, _, _ = model._track_step(
        frame, False, vision, positions, sizes, None, None, outputs, frames, False, None
    )
    masks, _, predicted, low, high, pointer, score = heads
    current.update(pred_masks=low, obj_ptr=pointer, object_score_logits=score)
    model._encode_memory_in_output(vision, sizes, None, True, high, score, current)
    outputs["non_cond_frame_outputs"][frame] = current
    return _loss(gate, masks, predicted, target)


def _loss(
    gate: Gate, masks: torch.Tensor, predicted: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, list[float]]:
    """Loss of a frame, and the IoUs of the chosen masks.

    Args:
        gate: knows the scores, and which objects are there.
        masks: (n, m, SIZE / 4, SIZE / 4), logits.
        predicted: (n, m), their predicted IoUs.
        target: (n, SIZE, SIZE), 1 inside.
    """
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


def new_model() -> SAM2Base:
    """An untrained model that learns fast: its gate is open, and attention to memory begins at the same place.

    The model blanks masks whose object score is negative. With an open gate, the score is positive at first.
    """
    model = build_sam2(ARCHITECTURE)
    with torch.no_grad():
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(2.0)
        for layer in model.memory_attention.layers:
            layer.cross_attn_image.q_proj.bias.fill_(1.2)
            layer.cross_attn_image.k_proj.bias.fill_(1.2)
        for layer in model.memory_encoder.fuser.layers:
            layer.gamma.fill_(0.3)
    return model
