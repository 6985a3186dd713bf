"""What a user would write without this product: transformers + PEFT + bitsandbytes, one trial, one process.

The loss over all tokens, torch's AdamW; of Video-LLaMA 3 the class's own forward on the processor's pixels, where PEFT
with checkpointing passes the frozen tower backward too, since it makes every part's embeddings require gradients: that
is the usual way. Other families' towers run in the step without gradients, which favours the peer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from methods_peer import pixels
from torch import Tensor

from vqlora.adapters.lora import lora_config, ranks
from vqlora.data.example import Example
from vqlora.inputs import Inputs
from vqlora.models.load import Loaded
from vqlora.recipe import Lora

Part = Literal["tower", "head", "checkpointing"]
USUAL: frozenset[Part] = frozenset({"tower", "head", "checkpointing"})


@dataclass(kw_only=True, eq=False)
class Peer:
    """One PEFT trial on a base. parts: what of the usual way is kept.

    tower: the vision tower runs in every step. head: the head's logits of all tokens. checkpointing: of all layers.
    """

    loaded: Loaded
    inputs: Inputs
    method: Lora
    parts: frozenset[Part] = USUAL
    rate: float = 1e-4

    def __post_init__(self) -> None:
        from peft import get_peft_model

        model = self.loaded.model
        if "checkpointing" in self.parts:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.train()
        self.model = get_peft_model(model, lora_config(self.method, ranks(self.loaded, self.method)))
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in self.trained:
            parameter.data = parameter.data.float()
        self.optimizer = torch.optim.AdamW(self.trained, lr=self.rate)

    def close(self) -> None:
        """The base as it was."""
        self.model.unload()
        if "checkpointing" in self.parts:
            self.loaded.model.gradient_checkpointing_disable()
            self.loaded.model.disable_input_require_grads()
        self.loaded.model.eval()

    def prepare(self, examples: Sequence[Example]) -> dict[str, Any]:
        """A batch on the device; a loader would do it meanwhile, so it is never timed."""
        tokens = self.inputs.tokens(examples, [0] * len(examples))
        if "tower" not in self.parts:
            return {"tokens": tokens, "states": self.inputs.states(examples)}
        if self.loaded.model_type != "video_llama_3":
            return {"tokens": tokens, "examples": examples}
        clips = [self.inputs.frames(example) for example in examples]
        found = pixels(self.loaded.processor.video_processor, clips, self.loaded.dtype)
        return {"tokens": tokens, "pixels": {name: tensor.to(self.loaded.device) for name, tensor in found.items()}}

    def step(self, batch: Mapping[str, Any]) -> float:
        """One optimisation step; its loss."""
        on_gpu = self.loaded.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else nullcontext():
            loss = self._loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def _loss(self, batch: Mapping[str, Any]) -> Tensor:
        family: Any = self.loaded.family
        model, tokens = self.loaded.model, batch["tokens"]
        wanted = {name: tokens[name] for name in ("attention_mask", "labels")}
        if "pixels" in batch:
            return model(input_ids=tokens["input_ids"], **wanted, **batch["pixels"], use_cache=False).loss
        states = batch["states"] if "states" in batch else self.inputs.states(batch["examples"], fresh=True)
        if "head" not in self.parts:
            return family.loss(model, tokens, states)
        embeds = family.embed(model, tokens, states)
        return model(inputs_embeds=embeds, **wanted, use_cache=False).loss
