"""What every family of video-language models does: clips and conversations to model inputs, loss, greedy answers.

A family is one row of `vqlora.models.families`, an instance of a subclass of `Family`; subclasses, one per way of
bringing frames to the text, are in `pads`, `rotary`, `crossed`, `queries`, `omni` and `dual`. Everything works on the
plain transformers model; adapters injected by PEFT are seen because they sit inside it.
Shapes: B conversations, T tokens, D width of the language model. A state is what the vision tower gives for one frame,
or for one group of frames where the tower merges neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vqlora.models.conversation import IGNORED, Piece, pieces_of, render, template_of, tokenise
from vqlora.recipe import ROLES

if TYPE_CHECKING:
    from vqlora.data.example import Message
    from vqlora.video.frames import ClipFrames

TIMES = ("text", "position", "order")


@dataclass(frozen=True, kw_only=True, eq=False)
class Family:
    """One family.

    model_class: a class of transformers by name, or one's own class.
    roles: {prefix of parameter names at run time: role}; the longest prefix decides, see `vqlora.models.roles`.
    times: how true timestamps reach the model: written in the 'text', as 'position', or not at all, only their 'order'.
    placeholder: what the family's chat template writes for a video; None where frames stand before plain text.
    template: the chat template where a checkpoint has none.
    language, head: where the language model and its head sit. frame_roles: whose layers see frames laid end to end.
    crosses: whether cross_modal is attention, which a bit plan treats as it treats the text, or a projector.
    inside: the field of a larger model's configuration that is this model's, where checkpoints hold more than it.
    needs: an optional package that the family's own classes import.
    gates: parameters that hide the frames while they are zero; a base with random weights has them at one.
    cannot: {what: why}, for what other families can.
    """

    name: str
    model_type: str
    model_class: str | type
    roles: Mapping[str, str]
    times: str = "order"
    placeholder: str | None = None
    template: str | None = None
    language: str = "model.language_model"
    head: str = "lm_head"
    frame_roles: tuple[str, ...] = ("vision",)
    crosses: bool = False
    inside: str | None = None
    gates: tuple[str, ...] = ()
    needs: str | None = None
    cannot: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.roles.values()) - set(ROLES))
        if unknown:
            raise ValueError(f"family {self.name!r} names the role {unknown[0]!r}; use one of {ROLES}")
        if self.times not in TIMES:
            raise ValueError(f"family {self.name!r} passes times as {self.times!r}; use one of {TIMES}")

    def build(self, config: Any) -> Any:
        """The model of a configuration, which may be a larger model's, with weights as the device context has them."""
        import transformers

        if self.needs and find_spec(self.needs) is None:
            raise ValueError(f"{self.name} needs the package {self.needs}: pip install 'vqlora[families]'")
        own = getattr(config, self.inside, config) if self.inside else config
        kind = getattr(transformers, self.model_class) if isinstance(self.model_class, str) else self.model_class
        return kind(own)

    def check_can(self, what: str) -> None:
        """ValueError with the reason if the family cannot do `what`, such as the task 'caption'."""
        if what in self.cannot:
            raise ValueError(f"{self.name} cannot do {what!r}: {self.cannot[what]}")

    # ---- text -------------------------------------------------------------------------------------------------

    def places(self, processor: Any, model_config: Any, size: int, times_seconds: Sequence[float]) -> list[str]:
        """The text in the place of each state of a clip of frames of size x size pixels, timestamps included."""
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
        are padded on the left. frame_of_token: 1 + state a token belongs to, 0 before the states, -1 after them.
        """
        template = template_of(processor, self)
        pieces: list[Piece] = []
        for row, (times, conversation) in enumerate(zip(times_seconds, conversations, strict=True)):
            rendered = render(
                processor.tokenizer, conversation, generate, template=template, placeholder=self.placeholder
            )
            # No times, no clip: a text alone.
            places = self.places(processor, model_config, size, times) if len(times) else []
            pieces += pieces_of(row, places, rendered)
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

    # ---- vision -----------------------------------------------------------------------------------------------

    def frames_per_state(self, model_config: Any) -> int:
        """Neighbouring frames that the tower merges into one state."""
        return 1

    def vision_states(self, model: Any, processor: Any, clips: Sequence[ClipFrames]) -> list[Tensor]:
        """Output of the vision tower before projector or resampler, per clip [states, tokens, width].

        A clip whose frames do not fill its last group repeats its last frame, as the families' processors do.
        """
        group = self.frames_per_state(model.config)
        parts = [torch.from_numpy(clip.frames) for clip in clips]
        parts = [torch.cat([part, *[part[-1:]] * (-len(part) % group)]) for part in parts]
        frames = torch.cat(parts).permute(0, 3, 1, 2)
        states = self.encode_frames(model, processor, frames.to(model.device))
        return list(states.split([len(part) // group for part in parts]))

    def encode_frames(self, model: Any, processor: Any, frames: Tensor) -> Tensor:
        """The tower on uint8 frames [n, 3, size, size], normalised as the processor does: [states, tokens, width]."""
        raise NotImplementedError

    # ---- language ---------------------------------------------------------------------------------------------

    def language_inputs(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> dict[str, Any]:
        """What the language model takes for a batch whose clips have these states."""
        raise NotImplementedError

    def hidden(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Last hidden states of the language model, [B, T, D]."""
        inputs = self.language_inputs(model, batch, states)
        return attrgetter(self.language)(model)(**inputs, use_cache=False).last_hidden_state

    def embedding(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """One vector per row, read off the last real token, [B, D]."""
        hidden = self.hidden(model, batch, states)
        last = (batch["attention_mask"] * torch.arange(hidden.shape[1], device=hidden.device)).argmax(-1)
        return hidden[torch.arange(len(hidden), device=hidden.device), last]

    def loss(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> Tensor:
        """Mean cross-entropy over label tokens (nats)."""
        logits, labels, _ = self._label_logits(model, batch, states)
        return F.cross_entropy(logits, labels)

    def token_losses(self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Cross-entropy of each label token (nats) and the row it is in."""
        logits, labels, wanted = self._label_logits(model, batch, states)
        return F.cross_entropy(logits, labels, reduction="none"), wanted.nonzero()[:, 0]

    def _label_logits(
        self, model: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits [labels, vocabulary], labels, and where they are [B, T - 1]; the head runs on those positions only."""
        hidden = self.hidden(model, batch, states)
        labels = batch["labels"][:, 1:]
        wanted = labels != IGNORED
        return attrgetter(self.head)(model)(hidden[:, :-1][wanted]).float(), labels[wanted], wanted

    def generate(
        self, model: Any, processor: Any, batch: Mapping[str, Tensor], states: Sequence[Tensor], *, max_new_tokens: int
    ) -> list[str]:
        """Greedy continuation of each row, without special tokens; a checkpoint's sampling settings are not used."""
        language, head = attrgetter(self.language)(model), attrgetter(self.head)(model)
        pad, ends = processor.tokenizer.pad_token_id, _ends(model, processor)
        inputs, cache = self.language_inputs(model, batch, states), None
        done = torch.zeros(len(batch["input_ids"]), dtype=torch.bool, device=batch["input_ids"].device)
        written: list[Tensor] = []
        for _ in range(max_new_tokens):
            out = language(**inputs, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            best = head(out.last_hidden_state[:, -1]).argmax(-1)
            best = torch.where(done, torch.full_like(best, pad), best)
            written.append(best)
            done |= torch.isin(best, torch.tensor(ends, device=best.device))
            if done.all():
                break
            inputs = self.next_inputs(model, inputs, best)
        texts = processor.tokenizer.batch_decode(torch.stack(written, dim=1), skip_special_tokens=True)
        return [text.strip() for text in texts]

    def next_inputs(self, model: Any, inputs: Mapping[str, Any], tokens: Tensor) -> dict[str, Any]:
        """`language_inputs` of one more token per row, [B], after `inputs`."""
        attention, positions = inputs["attention_mask"], inputs["position_ids"]
        following = positions.amax(-1, keepdim=True)
        following = (following.amax(0, keepdim=True).expand_as(following) if following.dim() == 3 else following) + 1
        return {
            "inputs_embeds": model.get_input_embeddings()(tokens.unsqueeze(1)),
            "attention_mask": torch.cat([attention, torch.ones_like(attention[:, :1])], dim=1),
            "position_ids": following,
        }


def positions_of(attention_mask: Tensor) -> Tensor:
    """Positions of tokens counted over the real ones, [B, T]; padding on the left does not count."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def normalised(image_processor: Any, frames: Tensor) -> Tensor:
    """uint8 frames [n, 3, size, size] with the processor's mean and deviation, float32."""
    mean = torch.tensor(image_processor.image_mean, device=frames.device).view(3, 1, 1)
    deviation = torch.tensor(image_processor.image_std, device=frames.device).view(3, 1, 1)
    return (frames.float() / 255 - mean) / deviation


def check_size(family: Family, size: int, wanted: int) -> None:
    """ValueError unless frames have the one size that a family's learned positions are for."""
    if size != wanted:
        raise ValueError(
            f"frame size {size} does not fit: this {family.name} base sees frames of {wanted} x {wanted} pixels; "
            f"use Frames(size={wanted}), or --set frames.size={wanted}"
        )


def _ends(model: Any, processor: Any) -> list[int]:
    """Tokens that end an answer: the tokenizer's and those that the checkpoint's generation settings add."""
    settings = getattr(model, "generation_config", None)
    more = getattr(settings, "eos_token_id", None)
    more = [more] if isinstance(more, int) else list(more or ())
    return sorted({processor.tokenizer.eos_token_id, *more})
