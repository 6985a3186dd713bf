"""The families of video-language models that are known here, one row each, and how to add one's own.

A row says which class of transformers it is, which prefix of its parameters has which role, how times reach the model,
and what it cannot do. A new family that resembles a known one is one more row:

    from vqlora.models.families import Llava, register
    register(Llava(name="mine", model_type="my_llava", model_class="MyLlavaForConditionalGeneration", roles={...}))

after its classes are known to transformers' AutoConfig; `model_class` may be the class itself. Then
`vqlora.contracts.check_family` examines it. One that brings frames to its text in a new way is a subclass of
`vqlora.models.family.Family` as well.
"""

from __future__ import annotations

from collections.abc import Mapping

from vqlora.models.crossed import Idefics, Mllama
from vqlora.models.dual import NO_TEXT, Dual, Siglip, XClip
from vqlora.models.family import Family
from vqlora.models.omni import Omni
from vqlora.models.pads import InternVL, Llava, LlavaOnevision, PerceptionLM, SmolVLM, VideoLlama3
from vqlora.models.queries import InstructBlipVideo
from vqlora.models.rotary import Rotary, StackedRotary, TimedRotary

__all__ = ["FAMILIES", "Family", "Llava", "Rotary", "family_of", "register"]

LLAVA_ROLES = {
    "model.vision_tower": "vision",
    "model.multi_modal_projector": "cross_modal",
    "model.language_model": "text",
    "lm_head": "text",
}
QWEN_ROLES = {
    "model.visual": "vision",
    "model.visual.merger": "cross_modal",
    "model.language_model": "text",
    "lm_head": "text",
}
DUAL_ROLES = {"vision_model": "vision", "text_model": "text", "logit_scale": "cross_modal"}
CROSS_LAYERS = {f"model.language_model.layers.{layer}": "cross_modal" for layer in range(3, 100, 5)}
PROJECTED = ("vision", "cross_modal")  # a projector sees frames laid end to end, as the tower does
ONLY_ORDER = "its format has no place for times: it sees the order of frames only"
AVERAGED = dict.fromkeys(("times", "order"), "it averages the vectors of frames")
AUDIO = {"audio": "it has no audio tower"}

ROWS: tuple[Family, ...] = (
    VideoLlama3(
        name="videollama3",
        model_type="video_llama_3",
        model_class="VideoLlama3ForConditionalGeneration",
        roles={
            "model.vision_model": "vision",
            "model.projector": "cross_modal",
            "model.language_model": "text",
            "lm_head": "text",
        },
        times="text",
        frame_roles=PROJECTED,
        cannot=AUDIO,
    ),
    Llava(
        name="video-llava",
        model_type="video_llava",
        model_class="VideoLlavaForConditionalGeneration",
        roles={
            "model.video_tower": "vision",
            "model.image_tower": "vision",
            "model.multi_modal_projector": "cross_modal",
            "model.language_model": "text",
            "lm_head": "text",
        },
        placeholder="<video>",
        frame_roles=PROJECTED,
        tower="model.video_tower",
        keeps_class=True,
        cannot={**AUDIO, "times": ONLY_ORDER},
    ),
    Llava(
        name="llava-next-video",
        model_type="llava_next_video",
        model_class="LlavaNextVideoForConditionalGeneration",
        roles={**LLAVA_ROLES, "model.vision_resampler": "cross_modal", "model.image_newline": "cross_modal"},
        placeholder="<video>",
        frame_roles=PROJECTED,
        pools=True,
        cannot={**AUDIO, "times": ONLY_ORDER},
    ),
    LlavaOnevision(
        name="llava-onevision",
        model_type="llava_onevision",
        model_class="LlavaOnevisionForConditionalGeneration",
        roles={**LLAVA_ROLES, "model.image_newline": "cross_modal"},
        placeholder="<video>",
        frame_roles=PROJECTED,
        cannot={**AUDIO, "times": ONLY_ORDER},
    ),
    Rotary(
        name="qwen2-vl",
        model_type="qwen2_vl",
        model_class="Qwen2VLForConditionalGeneration",
        roles=QWEN_ROLES,
        placeholder="<|video_pad|>",
        frame_roles=PROJECTED,
        cannot={**AUDIO, "times": "its positions count pairs of frames, whatever their times"},
    ),
    TimedRotary(
        name="qwen2.5-vl",
        model_type="qwen2_5_vl",
        model_class="Qwen2_5_VLForConditionalGeneration",
        roles=QWEN_ROLES,
        times="position",
        placeholder="<|video_pad|>",
        frame_roles=PROJECTED,
        cannot=AUDIO,
    ),
    StackedRotary(
        name="qwen3-vl",
        model_type="qwen3_vl",
        model_class="Qwen3VLForConditionalGeneration",
        roles={**QWEN_ROLES, "model.visual.deepstack_merger_list": "cross_modal"},
        times="text",
        placeholder="<|vision_start|><|video_pad|><|vision_end|>",
        frame_roles=PROJECTED,
        cannot=AUDIO,
    ),
    InternVL(
        name="internvl",
        model_type="internvl",
        model_class="InternVLForConditionalGeneration",
        roles=LLAVA_ROLES,
        pad_field="image_token_id",
        placeholder="<video>",
        frame_roles=PROJECTED,
        cannot={**AUDIO, "times": "its format numbers the frames and has no place for times"},
    ),
    SmolVLM(
        name="smolvlm",
        needs="num2words",
        model_type="smolvlm",
        model_class="SmolVLMForConditionalGeneration",
        roles={
            "model.vision_model": "vision",
            "model.connector": "cross_modal",
            "model.text_model": "text",
            "lm_head": "text",
        },
        times="text",
        pad_field="image_token_id",
        placeholder="<video>",
        language="model.text_model",
        frame_roles=PROJECTED,
        cannot=AUDIO,
    ),
    InstructBlipVideo(
        name="instructblip-video",
        model_type="instructblipvideo",
        model_class="InstructBlipVideoForConditionalGeneration",
        roles={
            "vision_model": "vision",
            "query_tokens": "cross_modal",
            "qformer": "cross_modal",
            "language_projection": "cross_modal",
            "language_model": "text",
        },
        placeholder="<video>",
        template=(
            "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'video' %}<video>"
            "{{ bos_token }}{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
            "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
        ),
        language="language_model.model",
        head="language_model.lm_head",
        crosses=True,
        cannot={**AUDIO, "times": ONLY_ORDER},
    ),
    Idefics(
        name="idefics",
        model_type="idefics",
        model_class="IdeficsForVisionText2Text",
        roles={
            "model.vision_model": "vision",
            "model.perceiver_resampler": "cross_modal",
            "model.gated_cross_attn_layers": "cross_modal",
            "model.layers": "text",
            "model.embed_tokens": "text",
            "model.norm": "text",
            "lm_head": "text",
        },
        times="text",
        language="model",
        cannot=AUDIO,
    ),
    Mllama(
        name="mllama",
        model_type="mllama",
        model_class="MllamaForConditionalGeneration",
        roles={
            "model.vision_model": "vision",
            "model.multi_modal_projector": "cross_modal",
            "model.language_model": "text",
            **CROSS_LAYERS,
            "lm_head": "text",
        },
        times="text",
        placeholder="<|image|>",
        language="model",
        gates=("cross_attn_attn_gate", "cross_attn_mlp_gate"),
        cannot=AUDIO,
    ),
    PerceptionLM(
        name="perceptionlm",
        needs="timm",
        model_type="perception_lm",
        model_class="PerceptionLMForConditionalGeneration",
        roles=LLAVA_ROLES,
        placeholder="<|video|>",
        frame_roles=PROJECTED,
        cannot={**AUDIO, "times": ONLY_ORDER},
    ),
    Omni(
        name="qwen2.5-omni",
        model_type="qwen2_5_omni_thinker",
        model_class="Qwen2_5OmniThinkerForConditionalGeneration",
        roles={**QWEN_ROLES, "model.audio_tower": "audio", "model.audio_tower.proj": "cross_modal"},
        times="position",
        placeholder="<|VIDEO|>",
        frame_roles=(*PROJECTED, "audio"),
        inside="thinker_config",
        cannot={
            "audio": "its audio tower is loaded, but clips come without their sound so far",
            "speech": "only its thinker is loaded: it answers in text",
        },
    ),
    Dual(
        name="clip",
        model_type="clip",
        model_class="CLIPModel",
        roles={**DUAL_ROLES, "visual_projection": "cross_modal", "text_projection": "cross_modal"},
        cannot={**AUDIO, "caption": NO_TEXT, **AVERAGED},
    ),
    Siglip(
        name="siglip",
        model_type="siglip",
        model_class="SiglipModel",
        roles={**DUAL_ROLES, "logit_bias": "cross_modal"},
        cannot={**AUDIO, "caption": NO_TEXT, **AVERAGED},
    ),
    XClip(
        name="x-clip",
        model_type="xclip",
        model_class="XCLIPModel",
        roles={
            **DUAL_ROLES,
            "visual_projection": "cross_modal",
            "text_projection": "cross_modal",
            "prompts_visual_layernorm": "cross_modal",
            "prompts_visual_projection": "cross_modal",
            "prompts_generator": "cross_modal",
            "mit": "cross_modal",
        },
        cannot={
            **AUDIO,
            "caption": NO_TEXT,
            "retrieval": "it reads a text in view of a clip, so that a text has no vector of its own",
            "times": ONLY_ORDER,
            "frames": "it sees exactly the number it was built for",
        },
    ),
)

FAMILIES: dict[str, Family] = {family.model_type: family for family in ROWS}


def register(family: Family) -> None:
    """Adds a family of one's own. ValueError if its model type or name is taken."""
    for known in FAMILIES.values():
        if family.model_type == known.model_type or family.name == known.name:
            raise ValueError(
                f"family {family.name!r} of model type {family.model_type!r} is there already, as {known.name!r} of "
                f"{known.model_type!r}; give yours a name and a model type of its own"
            )
    FAMILIES[family.model_type] = family


def family_of(model_type: str) -> Family:
    """The family of a transformers `model_type`; an unknown one is refused with the known ones and how to add it."""
    if model_type not in FAMILIES:
        raise ValueError(
            f"model type {model_type!r} is no family known here; known: {sorted(FAMILIES)}. To add it, give "
            "vqlora.models.families.register a row and run vqlora.contracts.check_family"
        )
    return FAMILIES[model_type]


def family_of_config(config: Mapping[str, object]) -> Family:
    """The family of a checkpoint's config.json, which may hold more models than the one that is loaded."""
    for family in FAMILIES.values():
        part = config.get(family.inside) if family.inside else None
        if isinstance(part, Mapping) and part.get("model_type") == family.model_type:
            return family
    return family_of(str(config.get("model_type")))
