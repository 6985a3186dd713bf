"""What differs between families of video-language models: how a clip and a conversation become model inputs.

One class per family, one row in FAMILIES. Roles come from `vqlora.models.roles`, weights from `vqlora.models.load`.
Everything works on the plain transformers model; adapters injected by PEFT are seen because they sit inside it.
Shapes: B conversations, T tokens, D width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AttentionInterface

from vqlora.models.conversation import IGNORED, Piece, pieces_of, render, tokenise

if TYPE_CHECKING:
    from vqlora.data.example import Message
    from vqlora.video.frames import ClipFrames


class Family:
    """One family. A subclass says how frames are written into the text and how vision states enter the model."""

    name: ClassVar[str]
    model_type: ClassVar[str]
    model_class: ClassVar[str]
    frame_roles: ClassVar[tuple[str, ...]] = ("vision",)  # whose layers see frames laid end to end, not rows of text

    # ---- text -------------------------------------------------------------------------------------------------

    def frame_text(self, processor: Any, model_config: Any, size: int, time_seconds: float, last: bool) -> str:
        """The text that holds the place of one frame of size x size pixels, with its timestamp."""
        raise NotImplementedError

    def batch(
        self,
        processor: Any,
        model_config: Any,
        times_seconds: Sequence[Sequence[float]],
        conversations: Sequence[Sequence[Message]],
        *,
        size: int,
        generate: bool = False,
    ) -> dict[str, Tensor]:
        """input_ids, attention_mask, frame_of_token [B, T] and, for training, labels [B, T].

        Labels are -100 outside the assistant's turns. With `generate` the last assistant turn is left out and rows
        are padded on the left. frame_of_token: 1 + frame a token belongs to, 0 before the frames, -1 after them.
        """
        pieces: list[Piece] = []
        for row, (times, conversation) in enumerate(zip(times_seconds, conversations, strict=True)):
            places = [
                self.frame_text(processor, model_config, size, time, number == len(times))
                for number, time in enumerate(times, start=1)
            ]
            pieces += pieces_of(row, places, render(processor.tokenizer, conversation, generate))
        rows = tokenise(processor.tokenizer, pieces)
        length = max(len(ids) for ids, _, _ in rows)
        fields = {
            "input_ids": processor.tokenizer.pad_token_id,
            "labels": IGNORED,
            "frame_of_token": 0,
            "attention_mask": 0,
        }
        out = {name: torch.full((len(rows), length), fill) for name, fill in fields.items()}
        for index, (ids, labels, frames) in enumerate(rows):
            place = slice(length - len(ids), length) if generate else slice(0, len(ids))
            out["input_ids"][index, place] = torch.tensor(ids)
            out["labels"][index, place] = torch.tensor(labels)
            out["frame_of_token"][index, place] = torch.tensor(frames)
            out["attention_mask"][index, place] = 1
        if generate:
            del out["labels"]
        return out

    # ---- vision and language ----------------------------------------------------------------------------------

    def vision_states(self, model: Any, processor: Any, clips: Sequence[ClipFrames]) -> list[Tensor]:
        """Output of the vision tower before projector or resampler, per clip [frames, tokens, width]."""
        frames = torch.cat([torch.from_numpy(clip.frames) for clip in clips]).permute(0, 3, 1, 2)
        states = self.encode_frames(model, processor, frames.to(model.lm_head.weight.device))
        return list(states.split([len(clip.frames) for clip in clips]))

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        """The vision tower on uint8 frames [n, 3, size, size], normalised as the processor does: [n, tokens, width]."""
        raise NotImplementedError

    def hidden(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Last hidden states of the language model, [B, T, D]."""
        raise NotImplementedError

    def loss(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Mean cross-entropy over label tokens (nats)."""
        logits, labels, _ = self._label_logits(model, batch, states)
        return F.cross_entropy(logits, labels)

    def token_losses(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each label token (nats) and the row it is in."""
        logits, labels, wanted = self._label_logits(model, batch, states)
        return F.cross_entropy(logits, labels, reduction="none"), wanted.nonzero()[:, 0]

    def _label_logits(
        self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [labels, vocabulary], labels, and where they are [B, T - 1]; the head runs on those positions only."""
        hidden = self.hidden(model, batch, states)
        labels = batch["labels"][:, 1:]
        wanted = labels != IGNORED
        return model.lm_head(hidden[:, :-1][wanted]).float(), labels[wanted], wanted

    def generate(
        self, model: Any, processor: Any, batch: dict[str, Tensor], states: Sequence[Tensor], *, max_new_tokens: int
    ) -> list[str]:
        """Greedy continuation of each row, without special tokens."""
        tokens = model.generate(
            **self._generation_inputs(model, batch, states),
            attention_mask=batch["attention_mask"],
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=processor.tokenizer.pad_token_id,
            eos_token_id=processor.tokenizer.eos_token_id,
        )
        return [text.strip() for text in processor.tokenizer.batch_decode(tokens, skip_special_tokens=True)]

    def _generation_inputs(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        raise NotImplementedError


class VideoLlama3(Family):
    """Video-LLaMA (arXiv:2501.13106): projected frame tokens stand in the text after 'Time 1.0s:'.

    Tokens per frame are fixed: no token compression and one size per frame, else the number of frames would change
    the resolution and the tokens of a frame.
    """

    name = "videollama3"
    model_type = "video_llama_3"
    model_class = "VideoLlama3ForConditionalGeneration"
    frame_roles = ("vision", "cross_modal")

    def frame_text(self, processor: Any, model_config: Any, size: int, time_seconds: float, last: bool) -> str:
        patch, merge = model_config.vision_config.patch_size, processor.video_processor.merge_size
        if size % (patch * merge):
            raise ValueError(f"frame size {size} is no multiple of {patch * merge} (patch {patch} x merge {merge})")
        pads = processor.video_token * (size // patch // merge) ** 2
        return f"Time {time_seconds:.1f}s:{pads}" + ("" if last else ",")

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

    def embed(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Token embeddings with the projected frames in their places, [B, T, D]."""
        embeds = model.get_input_embeddings()(batch["input_ids"])
        video = model.model.projector(torch.cat([state.flatten(0, 1) for state in states]))
        places = (batch["input_ids"] == model.config.video_token_id).unsqueeze(-1)
        return embeds.masked_scatter(places, video.to(embeds.dtype))

    def hidden(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        return model.model.language_model(
            inputs_embeds=self.embed(model, batch, states), attention_mask=batch["attention_mask"], use_cache=False
        ).last_hidden_state

    def _generation_inputs(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        return {"inputs_embeds": self.embed(model, batch, states)}


class Idefics(Family):
    """Flamingo (arXiv:2204.14198) as in IDEFICS: perceiver resampler and gated cross-attention.

    Text after the frames attends to all frames; the tokens of 'Time 1.0s:<image>' attend to their own frame and so
    carry its order. The family's processor would let text see the last image only.
    """

    name = "idefics"
    model_type = "idefics"
    model_class = "IdeficsForVisionText2Text"

    def frame_text(self, processor: Any, model_config: Any, size: int, time_seconds: float, last: bool) -> str:
        fence = "<fake_token_around_image>"
        fence = fence if fence in processor.tokenizer.get_added_vocab() else ""
        return f"Time {time_seconds:.1f}s:{fence}<image>{fence if last else ''}"

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        pixels = self.normalised(processor.image_processor, frames)
        return model.model.vision_model(pixel_values=pixels.to(model.dtype)).last_hidden_state

    @staticmethod
    def normalised(image_processor: Any, frames: Tensor) -> Tensor:
        """uint8 frames [n, 3, size, size] with the processor's mean and deviation, float32."""
        mean = torch.tensor(image_processor.image_mean, device=frames.device).view(3, 1, 1)
        deviation = torch.tensor(image_processor.image_std, device=frames.device).view(3, 1, 1)
        return (frames.float() / 255 - mean) / deviation

    def images(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> dict[str, Tensor]:
        """Resampled frames [B, N, latents, width] and who may see them [B, T, N]; N = most frames of a row."""
        counts = [len(state) for state in states]
        most = max(counts)
        padded = torch.stack([F.pad(state, (0, 0, 0, 0, 0, most - len(state))) for state in states])
        number = torch.arange(1, most + 1, device=padded.device)
        frame = batch["frame_of_token"].unsqueeze(-1)
        real = number <= torch.tensor(counts, device=padded.device).view(-1, 1, 1)
        sees = ((frame == number) | (frame == -1)) & real
        if not model.config.use_resampler:
            return {"image_encoder_embeddings": padded, "image_attention_mask": sees.long()}
        latents = model.model.perceiver_resampler(padded.flatten(0, 1).to(model.dtype))
        return {"perceiver_embeddings": latents.unflatten(0, padded.shape[:2]), "image_attention_mask": sees.long()}

    def hidden(self, model: Any, batch: dict[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        return model.model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
            **self.images(model, batch, states),
        ).last_hidden_state

    def generate(
        self, model: Any, processor: Any, batch: dict[str, Tensor], states: Sequence[Tensor], *, max_new_tokens: int
    ) -> list[str]:
        """Greedy decoding over the model's own cache; the states of the frames are computed once.

        The class's `generate` accepts pixels only, and would run the tower again for every clip.
        """
        images = self.images(model, batch, states)
        eos, pad = processor.tokenizer.eos_token_id, processor.tokenizer.pad_token_id
        tokens, attention, cache = batch["input_ids"], batch["attention_mask"], None
        done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
        written: list[Tensor] = []
        for _ in range(max_new_tokens):
            out = model.model(
                input_ids=tokens, attention_mask=attention, past_key_values=cache, use_cache=True, **images
            )
            cache = out.past_key_values
            best = model.lm_head(out.last_hidden_state[:, -1]).argmax(-1)
            best = torch.where(done, torch.full_like(best, pad), best)
            written.append(best)
            done |= best == eos
            if done.all():
                break
            tokens = best.unsqueeze(1)
            attention = torch.cat([attention, torch.ones_like(tokens)], dim=1)
            images["image_attention_mask"] = images["image_attention_mask"][:, -1:]
        texts = processor.tokenizer.batch_decode(torch.stack(written, dim=1), skip_special_tokens=True)
        return [text.strip() for text in texts]


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

FAMILIES: dict[str, Family] = {family.model_type: family for family in (VideoLlama3(), Idefics())}


def family_of(model_type: str) -> Family:
    """The family of a transformers `model_type`; an unknown one is refused with the known ones."""
    if model_type not in FAMILIES:
        raise ValueError(
            f"model type {model_type!r} is no family known here; known: {sorted(FAMILIES)}. "
            "A new family is a subclass of vqlora.models.families.Family and a row of roles"
        )
    return FAMILIES[model_type]
