"""The laws that have names. x and y in the user's own units; every equation as its paper has it, or said where not."""

from __future__ import annotations

import numpy as np

from analysis.laws.law import Floats, Law, powers

EXPONENT = (0.01, 3.0)  # published exponents lie between .01 (rank) and 2
RANK_EXPONENTS, CHINCHILLA, FINE_TUNING = ("a",), ("alpha", "beta"), ("a", "b")


def _saturating(shape: Floats, x: Floats) -> Floats:
    return -(x[:, 0] ** -shape)[..., None]


def _saturating_slopes(shape: Floats, x: Floats) -> Floats:
    return -_saturating(shape, x)[..., None] * np.log(x)[:, :, None]


def _rectified(shape: Floats, x: Floats) -> Floats:
    before, power = shape[..., :1], shape[..., 1:]
    return (1 / (before + x[:, 0] ** power))[..., None]


def _rectified_slopes(shape: Floats, x: Floats) -> Floats:
    values = _rectified(shape, x)
    grown = x[:, 0] ** shape[..., 1:]
    return -(values**2)[..., None] * np.stack([np.ones_like(grown), grown * np.log(x[:, 0])], axis=-1)[..., None, :]


def _kept(shape: Floats, bits: Floats) -> tuple[Floats, Floats]:
    """The share of parameters that bits leave effective, 1 - exp(-P / g), and its slope in g; [..., n] each."""
    gone = np.exp(-bits / shape)
    return 1 - gone, -gone * bits / shape**2


def _precision(shape: Floats, x: Floats) -> Floats:
    kept, _ = _kept(shape[..., 2:], x[:, 2])
    return np.stack([(x[:, 0] * kept) ** -shape[..., :1], x[:, 1] ** -shape[..., 1:2]], axis=-1)


def _precision_slopes(shape: Floats, x: Floats) -> Floats:
    values, (kept, slope) = _precision(shape, x), _kept(shape[..., 2:], x[:, 2])
    out = np.zeros((*values.shape, 3))
    out[..., 0, 0] = -values[..., 0] * np.log(x[:, 0] * kept)
    out[..., 0, 2] = -values[..., 0] * shape[..., :1] * slope / kept
    out[..., 1, 1] = -values[..., 1] * np.log(x[:, 1])
    return out


def _broken(shape: Floats, x: Floats) -> Floats:
    first, second, place, width = (shape[..., k : k + 1] for k in range(4))
    return (x[:, 0] ** -first * np.exp(-second * width * _bend(x, place, width)))[..., None]


def _bend(x: Floats, place: Floats, width: Floats) -> Floats:
    return np.logaddexp(0.0, np.log(x[:, 0] / place) / width)


def _broken_slopes(shape: Floats, x: Floats) -> Floats:
    _, second, place, width = (shape[..., k : k + 1] for k in range(4))
    far, bend = np.log(x[:, 0] / place) / width, _bend(x, place, width)
    side = np.exp(far - bend)  # between 0 before the break and 1 after it
    by = [-np.log(x[:, 0]) + 0 * side, -width * bend, second * side / place, -second * (bend - far * side)]
    return _broken(shape, x)[..., None] * np.stack(by, axis=-1)[..., None, :]


def _joint(shape: Floats, x: Floats) -> Floats:
    rank, bits, share, frames, data = x.T
    a, scale, f, d = (shape[..., k : k + 1] for k in range(4))
    text, vision = (rank * share) ** -a, (rank * (1 - share)) ** -a
    return np.stack([text, vision, np.exp(-bits / scale), frames**-f, data**-d], axis=-1)


def _joint_slopes(shape: Floats, x: Floats) -> Floats:
    rank, bits, share, frames, data = x.T
    values = _joint(shape, x)
    out = np.zeros((*values.shape, 4))
    logs = (np.log(rank * share), np.log(rank * (1 - share)), bits, np.log(frames), np.log(data))
    for term, exponent in ((0, 0), (1, 0), (3, 2), (4, 3)):
        out[..., term, exponent] = -values[..., term] * logs[term]
    out[..., 2, 1] = values[..., 2] * bits / shape[..., 1:2] ** 2
    return out


def _powers_law(name: str, equation: str, *terms: dict[int, tuple[str, int]], factors: str, names: str, **more: object):
    """A law whose terms are products of powers; names: 'A B | a b', the coefficients and the exponents."""
    coefficients, exponents = (tuple(part.split()) for part in names.split("|"))
    values, slopes = powers(exponents, *terms, factors=len(factors.split()))
    return Law(
        name=name,
        equation=equation,
        factors=tuple(factors.split()),
        coefficients=coefficients,
        exponents=exponents,
        low=(EXPONENT[0],) * len(exponents),
        high=(EXPONENT[1],) * len(exponents),
        terms=values,
        slopes=slopes,
        **more,  # pyright: ignore[reportArgumentType]
    )


LAWS = {
    law.name: law
    for law in (
        Law(
            name="saturating",
            equation="y = E − A x^(−a)",
            factors=("x",),
            coefficients=("A",),
            exponents=("a",),
            low=(0.02,),
            high=(4.0,),
            terms=_saturating,
            slopes=_saturating_slopes,
            positive=False,
            steps=60,
            source="a score that grows towards E; the form of Hestness et al., arXiv:1712.00409, with its sign turned",
        ),
        _powers_law(
            "power",
            "L = E + A x^(−a)",
            {0: ("a", 1)},
            factors="x",
            names="A | a",
            steps=60,
            source="Hestness et al., arXiv:1712.00409",
        ),
        _powers_law(
            "chinchilla",
            "L = E + A N^(−alpha) + B D^(−beta)",
            {0: ("alpha", 1)},
            {1: ("beta", 1)},
            factors="N D",
            names="A B | alpha beta",
            units={"N": "parameters", "D": "tokens", "E": "loss"},
            source="Hoffmann et al. 2022, arXiv:2203.15556, approach 3",
        ),
        _powers_law(
            "multiplicative",
            "L = E + A X^(−a) D^(−b)",
            {0: ("a", 1), 1: ("b", 1)},
            factors="X D",
            names="A | a b",
            units={"X": "model size, adapter parameters or rank", "D": "fine-tuning examples"},
            source="Zhang et al. 2024, arXiv:2402.17193",
        ),
        _powers_law(
            "additive",
            "L = E + A X^(−a) + B D^(−b)",
            {0: ("a", 1)},
            {1: ("b", 1)},
            factors="X D",
            names="A B | a b",
            units={"X": "model size, adapter parameters or rank", "D": "fine-tuning examples"},
            source="Wang et al. 2025, arXiv:2505.18855, 'add'",
        ),
        _powers_law(
            "add-interact",
            "L = E + A X^(−a) + B X^b D^(−d) + C D^(−d)",
            {0: ("a", 1)},
            {0: ("b", -1), 1: ("d", 1)},
            {1: ("d", 1)},
            factors="X D",
            names="A B C | a b d",
            steps=14,
            units={"X": "model size, frames, tokens or rank", "D": "fine-tuning examples"},
            source="Wang et al. 2025, arXiv:2505.18855, 'add-interact' for one x",
        ),
        Law(
            name="rectified",
            equation="L = E + B / (D0 + D^b)",
            factors=("D",),
            coefficients=("B",),
            exponents=("D0", "b"),
            low=(1e-3, EXPONENT[0]),
            high=(1e9, EXPONENT[1]),
            terms=_rectified,
            slopes=_rectified_slopes,
            units={"D": "fine-tuning examples", "D0": "examples^b, what pretraining is worth"},
            source="Lin et al. 2024, arXiv:2402.02314",
        ),
        Law(
            name="precision",
            equation="L = E + A (N (1 − exp(−P/g)))^(−alpha) + B D^(−beta)",
            factors=("N", "D", "P"),
            coefficients=("A", "B"),
            exponents=("alpha", "beta", "g"),
            low=(*(EXPONENT[0],) * 2, 0.2),
            high=(*(EXPONENT[1],) * 2, 20.0),
            terms=_precision,
            slopes=_precision_slopes,
            steps=14,
            units={"N": "parameters", "D": "tokens", "P": "effective bits per weight, scales included", "g": "bits"},
            source="Kumar et al. 2025, arXiv:2411.04330, weights only and without the post-training term",
        ),
        _powers_law(
            "tokens",
            "L = E + A N^(−alpha) T^(−beta)",
            {0: ("alpha", 1), 1: ("beta", 1)},
            factors="N T",
            names="A | alpha beta",
            units={"N": "parameters of the language model", "T": "visual tokens and prompt tokens"},
            source="Li et al. 2025, arXiv:2411.03312",
        ),
        _powers_law(
            "frames",
            "L = E + A T^(−a) + B M^(−b)",
            {0: ("a", 1)},
            {1: ("b", 1)},
            factors="T M",
            names="A B | a b",
            units={"T": "frames", "M": "tokens a frame"},
            source="after Du et al. 2024, arXiv:2410.13694: a power law in each",
        ),
        Law(
            name="broken",
            equation="L = E + A x^(−c0) (1 + (x/d)^(1/f))^(−c1 f)",
            factors=("x",),
            coefficients=("A",),
            exponents=("c0", "c1", "d", "f"),
            low=(EXPONENT[0], EXPONENT[0], 1.0, 0.05),
            high=(EXPONENT[1], EXPONENT[1], 1.0001, 2.0),
            within={"d": "x"},
            terms=_broken,
            slopes=_broken_slopes,
            steps=9,
            units={"d": "units of x"},
            source="Caballero et al. 2023, arXiv:2210.14891, one break that steepens",
        ),
        Law(
            name="joint",
            equation="L = E + A (s r)^(−a) + V ((1−s) r)^(−a) + Q exp(−P/g) + F T^(−f) + B D^(−d)",
            factors=("r", "P", "s", "T", "D"),
            coefficients=("A", "V", "Q", "F", "B"),
            exponents=("a", "g", "f", "d"),
            low=(EXPONENT[0], 0.2, EXPONENT[0], EXPONENT[0]),
            high=(EXPONENT[1], 20.0, EXPONENT[1], EXPONENT[1]),
            terms=_joint,
            slopes=_joint_slopes,
            steps=7,
            units={
                "r": "rank of text and vision together",
                "P": "effective bits per weight",
                "s": "text's share of the rank, between 0 and 1",
                "T": "frames",
                "D": "fine-tuning examples",
                "g": "bits",
            },
            source="this project: the additive form of arXiv:2505.18855 with the bits' term of arXiv:2411.04330",
        ),
    )
}
