"""What transformers reads of a base's folder beside its weights: configuration, processor, generation settings.

These files are other people's. Code beside them is never run (`trust_remote_code=False`), and whatever transformers
raises about them becomes one ValueError that names the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vqlora.annotations import read_json

MOST_LAYERS = 1000  # of one tower; building a model takes time for each, before a weight is looked at
COUNTS = ("num_hidden_layers", "num_layers", "depth", "encoder_layers", "n_layer")


def config_of(folder: Path) -> Any:
    """The configuration. ValueError where it is none, or asks for more layers than any model has."""
    from transformers import AutoConfig

    _refuse_towers(read_json(folder / "config.json").mapping(), folder)
    with _reading(folder, "configuration"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def built(folder: Path, build: Any) -> Any:
    """What `build` makes of the configuration; ValueError where its numbers make no model."""
    config = config_of(folder)
    with _reading(folder, "configuration"):
        return build(config)


def generation_of(folder: Path) -> Any:
    """The generation settings; None where there are none."""
    from transformers import GenerationConfig

    if not (folder / "generation_config.json").is_file():
        return None
    with _reading(folder, "generation_config.json"):
        return GenerationConfig.from_pretrained(folder)


def processor_in(folder: Path) -> Any:
    """Tokenizer, image and video processors."""
    from transformers import AutoProcessor

    with _reading(folder, "processor or tokenizer"):
        return AutoProcessor.from_pretrained(folder, trust_remote_code=False)


@contextmanager
def _reading(folder: Path, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # broken settings may raise anything
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(f"{folder}: its {what} cannot be used ({said}); copy the base again") from error


def _refuse_towers(config: Mapping[str, Any], folder: Path) -> None:
    for name, value in config.items():
        if name in COUNTS and isinstance(value, int) and value > MOST_LAYERS:
            raise ValueError(f"{folder}: its configuration asks for {value:.3g} layers ({name}); no base has so many")
        if isinstance(value, dict):
            _refuse_towers(value, folder)
