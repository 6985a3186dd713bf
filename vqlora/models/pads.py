"""Families in which projected frame tokens stand in the text in the place of pad tokens.

`Llava` is the plain case and fits most new families with one row; the others differ in what is named in their class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from vqlora.models.family import Family, check_size, normalised, positions_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Pads(Family):
    """pad_field: the field of the configuration that holds the token which stands for a piece of a frame."""

    pad_field: str = "video_token_id"

    def pad(self, processor: Any, model_config: Any) -> str:
        """The text of the pad token."""
        return processor.tokenizer.convert_ids_to_tokens(getattr(model_config, self.pad_field))

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        """Pads of one state. ValueError for frames of a size that the tower cannot see."""
        raise NotImplementedError

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        text = self.pad(processor, model_config) * self.tokens_per_state(processor, model_config, size)
        return [text] * len(times_seconds)

    def project(self, model: Any, states: Tensor) -> Tensor:
        """States [n, tokens, width] as tokens of the language model, [n, tokens per state, D]."""
        raise NotImplementedError

    def frame_tokens(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """What stands in the places of the pads of all rows, in order, [pads, D]."""
        return self.project(model, torch.cat(list(states))).flatten(0, 1)

    def embed(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Token embeddings with the projected frames in their places, [B, T, D]."""
        embeds = model.get_input_embeddings()(batch["input_ids"])
        video = self.frame_tokens(model, batch, states)
        places = (batch["input_ids"] == getattr(model.config, self.pad_field)).unsqueeze(-1)
        return embeds.masked_scatter(places, video.to(embeds.dtype))

    def language_inputs(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        return {
            "inputs_embeds": self.embed(model, batch, states),
            "attention_mask": batch["attention_mask"],
            "position_ids": positions_of(batch["attention_mask"]),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class VideoLlama3(Pads):
    """Video-LLaMA (arXiv:2501.13106): projected frame tokens stand in the text after 'Time 1.0s:'.

    Tokens per frame are fixed: no token compression and one size per frame, else the number of frames would change
    the resolution and the tokens of a frame.
    """

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        patch, merge = model_config.vision_config.patch_size, processor.video_processor.merge_size
        if size % (patch * merge):
            raise ValueError(f"frame size {size} is no multiple of {patch * merge} (patch {patch} x merge {merge})")
        return (size // patch // merge) ** 2

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        pads = super().places(processor, model_config, size, times_seconds)
        texts = [f"Time {time:.1f}s:{pad}" for time, pad in zip(times_seconds, pads, strict=True)]
        return [text + "," for text in texts[:-1]] + texts[-1:]

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        tower = model.model.vision_model
        tower.config._attn_implementation = EQUAL_FRAMES
        side, merged = frames.shape[-1] // tower.config.patch_size, processor.video_processor.merge_size
        # One video of all frames: attention stays within a frame, and the merge runs once instead of per clip.
        states = tower(
            pixel_values=self.patches(processor.video_processor, frames).to(model.dtype),
            grid_thw=torch.tensor([[len(frames), side, side]], device=frames.device),
            merge_sizes=torch.tensor([merged], device=frames.device),
        ).last_hidden_state
        return states.view(len(frames), (side // merged) ** 2, -1)

    @staticmethod
    def patches(video_processor: Any, frames: Tensor) -> Tensor:
        """The processor's own normalisation and patches of uint8 frames [n, 3, size, size], without resizing."""
        out = video_processor(
            [frames], do_resize=False, do_sample_frames=False, use_token_compression=False, return_tensors="pt"
        )
        return out["pixel_values_videos"]

    def project(self, model: Any, states: Tensor) -> Tensor:
        return model.model.projector(states.flatten(0, 1)).unflatten(0, states.shape[:2])


@dataclass(frozen=True, kw_only=True, eq=False)
class Llava(Pads):
    """LLaVA (arXiv:2304.08485) on video: hidden states of a layer of a CLIP or SigLIP tower, projected frame by frame.

    tower, projector: where they sit. keeps_class: the class token is a token like others, whatever the configuration
    says about images. pools: tokens are averaged 2 x 2 before the projector (LLaVA-NeXT-Video).
    """

    tower: str = "model.vision_tower"
    projector: str = "model.multi_modal_projector"
    keeps_class: bool = False
    pools: bool = False

    def drops_class(self, model_config: Any) -> bool:
        return model_config.vision_feature_select_strategy == "default" and not self.keeps_class

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        vision = model_config.vision_config
        check_size(self, size, vision.image_size)
        side = size // vision.patch_size
        return (side // 2) ** 2 if self.pools else side**2 + self.keeps_class

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.video_processor, frames).to(model.dtype)
        hidden = attrgetter(self.tower)(model)(pixels, output_hidden_states=True).hidden_states
        layer = model.config.vision_feature_layer
        states = torch.cat([hidden[one] for one in ([layer] if isinstance(layer, int) else layer)], dim=-1)
        states = states[:, 1:] if self.drops_class(model.config) else states
        return model.model.vision_resampler(states) if self.pools else states

    def project(self, model: Any, states: Tensor) -> Tensor:
        return attrgetter(self.projector)(model)(states)


@dataclass(frozen=True, kw_only=True, eq=False)
class LlavaOnevision(Llava):
    """LLaVA-OneVision (arXiv:2408.03326): projected tokens are resized to half a side; a clip ends with a newline."""

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        check_size(self, size, model_config.vision_config.image_size)
        return (-(-size // model_config.vision_config.patch_size // 2)) ** 2

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        *before, last = super().places(processor, model_config, size, times_seconds)
        return [*before, last + self.pad(processor, model_config)]

    def project(self, model: Any, states: Tensor) -> Tensor:
        return model.model.apply_pooling(super().project(model, states))

    def frame_tokens(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        tokens = self.project(model, torch.cat(list(states))).split([len(state) for state in states])
        newline = model.model.image_newline.unsqueeze(0)
        return torch.cat([part for clip in tokens for part in (clip.flatten(0, 1), newline.to(clip.dtype))])


@dataclass(frozen=True, kw_only=True, eq=False)
class InternVL(Llava):
    """InternVL (arXiv:2504.10479): patches are shuffled 2 x 2 into one token; frames are numbered."""

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        vision = model_config.vision_config
        check_size(self, size, vision.image_size[0])
        return int((size // vision.patch_size[0] * model_config.downsample_ratio) ** 2)

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        start, end = processor.start_image_token, processor.end_image_token
        pads = super().places(processor, model_config, size, times_seconds)
        texts = [f"Frame{number}: {start}{pad}{end}" for number, pad in enumerate(pads, start=1)]
        return [text + "\n" for text in texts[:-1]] + texts[-1:]

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.video_processor, frames).to(model.dtype)
        layer = model.config.vision_feature_layer
        out = model.model.vision_tower(pixel_values=pixels, output_hidden_states=layer != -1)
        states = out.last_hidden_state if layer == -1 else out.hidden_states[layer]
        states = states[:, 1:] if self.drops_class(model.config) else states
        side = int(states.shape[1] ** 0.5)
        shuffled = model.model.pixel_shuffle(states.unflatten(1, (side, side)), model.config.downsample_ratio)
        return shuffled.flatten(1, 2)


@dataclass(frozen=True, kw_only=True, eq=False)
class SmolVLM(Pads):
    """SmolVLM2 (arXiv:2504.05299): frames after their minute and second, between the family's words for a video.

    The length it names is the time of the last frame, as its processor does for a video of unknown length.
    """

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        vision = model_config.vision_config
        check_size(self, size, vision.image_size)
        return (size // vision.patch_size // model_config.scale_factor) ** 2

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        from num2words import num2words

        pads = super().places(processor, model_config, size, times_seconds)
        fence = processor.fake_image_token
        texts = [
            f"\nFrame from {int(time // 60):02d}:{int(time % 60):02d}:{fence}{processor.global_image_token}{pad}{fence}"
            for time, pad in zip(times_seconds, pads, strict=True)
        ]
        minutes, seconds = divmod(int(times_seconds[-1]), 60)
        length = f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        count = num2words(len(texts))
        opening = f"You are provided the following series of {count} frames from a {length} [H:MM:SS] video.\n"
        texts[0] = opening + texts[0]
        return [*texts[:-1], texts[-1] + "\n\n"]

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.video_processor, frames).to(model.dtype)
        return model.model.vision_model(pixel_values=pixels).last_hidden_state

    def project(self, model: Any, states: Tensor) -> Tensor:
        return model.model.connector(states)


@dataclass(frozen=True, kw_only=True, eq=False)
class PerceptionLM(Pads):
    """PerceptionLM (arXiv:2504.13180): a Perception Encoder of timm, averaged 2 x 2 after the projector."""

    def tokens_per_state(self, processor: Any, model_config: Any, size: int) -> int:
        check_size(self, size, model_config.vision_config.model_args["img_size"][0])
        return (size // processor.patch_size // model_config.projector_pooling_ratio) ** 2

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = normalised(processor.video_processor, frames).to(model.dtype)
        states = model.model.vision_tower(pixels).last_hidden_state
        return states[:, 1:] if model.config.vision_use_cls_token else states

    def project(self, model: Any, states: Tensor) -> Tensor:
        return model.model.multi_modal_projector(states)


def _equal_frames_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: None, scaling: float, **kwargs: Any
) -> tuple[Tensor, None]:
    """Attention within frames of equal length, all at once; query, key, value [1, heads, frames x tokens, width].

    The tower's own fallback loops over frames in Python, which at hundreds of frames is most of its time.
    """
    frames = len(kwargs["cu_seq_lens_q"]) - 1
    query, key, value = (part[0].unflatten(1, (frames, -1)).transpose(0, 1) for part in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value, scale=scaling)  # [frames, heads, tokens, width]
    return out.transpose(1, 2).flatten(0, 1).unsqueeze(0), None


# 'flash' in the name asks the tower for the frame boundaries (cu_seqlens) instead of a split per frame.
EQUAL_FRAMES = "flash_equal_frames"
AttentionInterface.register(EQUAL_FRAMES, _equal_frames_attention)
