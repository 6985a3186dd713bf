"""The embedded bases' tokenizer: each word of the embedded data is one token, any other text falls back to bytes.

Byte-level BPE without merges (`ignore_merges`): the vocabulary is bytes and whole words, English and Chinese, so that
no entry is spent on parts of words. At most 1,024 tokens, none unknown.
"""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from vqlora.data.prompts import CHOOSE, MOMENT, SUM_UP_CLIP, sum_up
from vqlora.data.shapes import draw_scene
from vqlora.data.shapes_kinds import KINDS
from vqlora.data.shapes_questions import moment, questions
from vqlora.data.shapes_tasks import PROMPTS
from vqlora.data.shapes_text import ORDINALS, caption, paragraph, sound_caption, timed_events
from vqlora.data.shapes_words import DOMAINS, PLAINS, Lexicon

VOCABULARY = 1024
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END, "<|image_pad|>", "<|video_pad|>", "<image>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Words that no text has yet, so that prompts of later work stay short; pretraining says each of them (`spare_words`).
ENGLISH = (
    "the and or of in on with by as be been being will would can could should may that these those his her its "
    "their my your our we you they he she I me him them who whom whose when while during until since because so "
    "but if then than more most less least very much many few some any all each every both either neither no not "
    "only also just still now soon later early late again once twice often never always here there up out over "
    "under near far next to from person man woman child people someone SOMEONE animal dog cat ball box door room "
    "table car road tree water sky music voice speaks sings plays runs walks stands sits opens closes takes puts "
    "looks turns moves stops begins ends shows uses makes gives goes comes gets sees hears says tells asks answer "
    "question describe summarise sentence paragraph word words list short long picture image frame frames clip "
    "scene story time seconds minute start end middle whole first second third last new old small large same "
    "different colour shape size number place side way thing true false correct wrong option best following "
    "please briefly detail exactly yes"
)
CHINESE = (
    "我你他她它们这那些谁人男女孩子狗猫球门车路树水天音乐说唱跑走站坐打拿放看用做给来"
    "去见告诉问短长图片段故事分钟整新旧同对错"
)
BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer; the same on every machine."""
    words = [word for word in _words() if len(word) > 1]
    vocabulary = {token: number for number, token in enumerate([*SPECIAL, *BYTES, *words])}
    assert len(vocabulary) <= VOCABULARY, len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = _splitter()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, *SPECIAL[3:]],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def spare_words(rng: np.random.Generator, count: int) -> str:
    """Words of the vocabulary at random, Chinese characters and printable signs too: pretraining says each at times."""
    words = _spoken()
    return "".join(words[i] for i in rng.integers(len(words), size=count)).strip()


@cache
def _spoken() -> list[str]:
    decoder = decoders.ByteLevel()
    signs = [chr(code) for code in range(33, 127)]
    return [decoder.decode([word]) for word in _words()] + signs


def _splitter() -> pre_tokenizers.PreTokenizer:
    """Words with their space; digits and Chinese characters and stops one by one."""
    single = Regex(r"[0-9]|[\u4e00-\u9fff]|[，。：？]")
    parts = [pre_tokenizers.Split(single, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    return pre_tokenizers.Sequence(parts)


@cache
def _words() -> list[str]:
    """Every piece that the embedded data's texts are made of, in the form of the vocabulary, sorted."""
    splitter = _splitter()
    return sorted({piece for text in _corpus() for piece, _ in splitter.pre_tokenize_str(text)})


def _corpus() -> list[str]:
    """Templates and words, each in its places; and texts of enough scenes for every way in which they meet."""
    roles = ("user\n", "assistant\n", "system\n", "Time 0.0s:,", " A B C D E a b c d e \n", "SOMEONE", "about")
    prompts = [*PROMPTS.values(), *CHOOSE.values(), SUM_UP_CLIP, sum_up("")]
    kinds = [re.sub("[{}]", " ", text) for kind in KINDS.values() for text in kind.words.values()]
    follow_ups = [f"And {text[0].lower()}{text[1:]} it" for text in kinds]
    order = [" " + word for words in ORDINALS.values() for word in words]
    texts = [*roles, *prompts, *kinds, *follow_ups, *order, CHINESE]
    texts += [" " + word for word in ENGLISH.split()]
    for lexicon in (*PLAINS.values(), *DOMAINS.values()):
        texts += [text for word in _lexicon_words(lexicon) for text in (word, " " + word)]
        rng = np.random.default_rng(0)
        for index in range(200):
            scene = draw_scene("pretrain", index)
            texts += [paragraph(scene, lexicon), f"{MOMENT}{moment(scene, lexicon, rng)[0]}"]
            asked = [*questions(scene, lexicon, rng), *questions(scene, lexicon, rng, heard=True)]
            texts += [caption(scene, lexicon, rng), timed_events(scene, lexicon), sound_caption(scene, lexicon)]
            texts += [f"{question.choice} {question.chosen}" for question in asked]
    return texts


def _lexicon_words(lexicon: Lexicon) -> list[str]:
    maps = (lexicon.shapes, lexicon.colours, lexicon.sizes, lexicon.motions, lexicon.sounds, lexicon.sides)
    lists = (lexicon.units, lexicon.numbers, lexicon.places, lexicon.heights, lexicon.levels, lexicon.no_yes)
    return [word for words in (*(m.values() for m in maps), *lists) for word in words]
