"""SAM 2's mask decoder for several objects on one slice, without prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from sam2.modeling.sam2_base import NO_OBJ_SCORE, SAM2Base
from torch import nn

from nnunetv2_supervoxel.generation.sam.encoding import SliceFeatures


@dataclass(frozen=True)
class Prediction:
    """What the model predicts of objects on one slice.

    Attributes:
        logits: of their masks, float32 (objects, 1, h, w) at a quarter of the model's resolution; above 0 lies inside.
        pointers: (objects, channels), what later slices may look back at.
        scores: (objects, 1), above 0 where the object is on the slice.
    """

    logits: torch.Tensor
    pointers: torch.Tensor
    scores: torch.Tensor

    def of(self, objects: torch.Tensor | slice) -> Prediction:
        """The part of some objects (indices into the batch)."""
        return Prediction(self.logits[objects], self.pointers[objects], self.scores[objects])

    @classmethod
    def joined(cls, parts: list[Prediction]) -> Prediction:
        """Predictions of several batches, one behind the other."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([getattr(p, n) for p in parts]) for n in ("logits", "pointers", "scores")))


class ObjectMaskDecoder(nn.Module):
    """`SAM2Base._forward_sam_heads` without prompts: of three masks only the one is made that would be chosen.

    Args:
        model: it has the weights.
    """

    def __init__(self, model: SAM2Base) -> None:
        super().__init__()
        self.decoder, self.point_to_pointer, self.no_pointer = (
            model.sam_mask_decoder,
            model.obj_ptr_proj,
            model.no_obj_ptr,
        )
        # A prompt of one point that is none, as SAM 2 has it where nothing is prompted, and the padding behind it.
        nowhere = torch.zeros(1, 1, 2, device=model.device), -torch.ones(1, 1, device=model.device)
        with torch.inference_mode():
            prompt, self._no_mask = model.sam_prompt_encoder(points=nowhere, boxes=None, masks=None)
            of_output = (self.decoder.obj_score_token, self.decoder.iou_token, self.decoder.mask_tokens)
            self._tokens = torch.cat([*(embedding.weight for embedding in of_output), prompt[0]])[None]
            self._position = model.sam_prompt_encoder.get_dense_pe().flatten(2).transpose(1, 2)

    def forward(self, seen: torch.Tensor, features: SliceFeatures) -> Prediction:
        """Predict masks.

        Args:
            seen: the slice's coarsest features as each object sees them, (objects, pixels, channels).
            features: the slice's, of which the finer ones are read.
        """
        tokens, image = self._transformed(seen + self._no_mask.flatten(2).transpose(1, 2))
        scores = self.decoder.pred_obj_score_head(tokens[:, 0])
        # The first mask is for prompts that leave no doubt; without a prompt it is never chosen.
        best = self.decoder.iou_prediction_head(tokens[:, 1])[:, 1:].argmax(1) + 1
        chosen = tokens[torch.arange(len(tokens), device=tokens.device), 2 + best]
        masks = self._masks(image, chosen, best, features)
        visible = scores > 0
        logits = torch.where(visible[..., None, None], masks, NO_OBJ_SCORE).float()
        pointers = torch.where(visible, self.point_to_pointer(chosen), self.no_pointer)
        return Prediction(logits, pointers, scores)

    def _transformed(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (objects, tokens, channels) and pixels (objects, pixels, channels) after they looked at each other."""
        transformer = self.decoder.transformer
        tokens = first = self._tokens.expand(len(image), -1, -1)
        for layer in transformer.layers:
            tokens, image = layer(tokens, image, query_pe=first, key_pe=self._position)
        attended = transformer.final_attn_token_to_image(tokens + first, image + self._position, image)
        return transformer.norm_final_attn(tokens + attended), image

    def _masks(
        self, image: torch.Tensor, chosen: torch.Tensor, best: torch.Tensor, features: SliceFeatures
    ) -> torch.Tensor:
        """Logits (objects, 1, h, w) of the chosen masks."""
        finest, finer, coarse = features.maps
        enlarge, norm, activation, enlarge_again, activation_again = self.decoder.output_upscaling
        enlarged = enlarge(image.transpose(1, 2).unflatten(2, coarse.shape[2:]))
        enlarged = activation(norm(enlarged.add_(finer)))
        enlarged = activation_again(enlarge_again(enlarged).add_(finest))
        weights = torch.stack([head(chosen) for head in self.decoder.output_hypernetworks_mlps])
        weights = weights[best, torch.arange(len(best), device=best.device)]
        return (weights[:, None] @ enlarged.flatten(2)).unflatten(2, enlarged.shape[2:])
