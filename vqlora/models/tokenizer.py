"""The embedded bases' tokenizer: byte-level BPE over English and Chinese, at most 1,024 tokens, none unknown.

Trained on the embedded data's own texts, so that each of its words is one token; any other text falls back to bytes.
"""

from __future__ import annotations

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from vqlora.data.shapes import draw_scene
from vqlora.data.shapes_text import LOG_PROMPT, PROMPT, domain_caption, plain_caption

VOCABULARY = 1024
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (PAD, START, END, "<|image_pad|>", "<|video_pad|>", "<image>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Words of tasks beyond captioning, so that these need no new tokenizer.
ENGLISH = (
    "What is the colour of the shape that moves first ? yes no How many shapes are there ? Which one which where when "
    "before after left right up down above below faster slower big small Answer with one word . Question : Answer : "
    "from to seconds s , . ; ! ' \" ( ) Find the video text Summarise in sentence paragraph Listen to the sound tone "
    "click low high loud soft one two three four five user assistant Time zero an at it does do did has was were not"
)
CHINESE = (
    "一个红色的小圆形向左移动,然后蓝色的大方形闪烁。两个三角形星形十字环形长条月亮绿色黄色紫色橙色青色白色向右向上向下"
    "旋转弹跳变大缩小出现消失从后面经过保持不动什么颜色哪个形状有几个先再最后描述视频请用回答是否在上方下方左边右边声音高低"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Trains the tokenizer; the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    # Words with their space; digits and Chinese characters one by one.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[0-9]|[\u4e00-\u9fff]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=1,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[START, *SPECIAL[3:]],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _corpus() -> list[str]:
    rng = np.random.default_rng(0)
    scenes = [draw_scene("pretrain", index) for index in range(400)]
    texts = [plain_caption(scene) for scene in scenes] + [domain_caption(scene, rng) for scene in scenes]
    turns = [f"user\n{prompt}\nassistant\n" for prompt in (PROMPT, LOG_PROMPT)]
    times = [f"Time {tenths / 10:.1f}s:," for tenths in range(130)]
    # Repetition lifts rare words over chance pairs of the frequent ones.
    return (
        texts + 50 * turns + 5 * times + 20 * [ENGLISH] + 20 * [" " + word for word in ENGLISH.split()] + 20 * [CHINESE]
    )
