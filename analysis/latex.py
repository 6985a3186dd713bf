"""Tables, methods and checklist as LaTeX for a manuscript: booktabs, numbers as on the page, texts escaped.

The document needs `\\usepackage{booktabs,longtable,graphicx}` and, where figures lie elsewhere, `\\graphicspath`; each
file is `\\input` as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from analysis.plots import Plot
from analysis.tables import Cell, Table

ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "×": r"$\times$",
    "–": "--",
    "−": r"$-$",
    "·": r"$\cdot$",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "…": r"\dots{}",
}
LONG = 40  # rows from which a table breaks over pages
PAGE_SIGNS = 104  # of a table across a page of 17 cm, in \small; wider ones become panels
GAP_SIGNS = 2  # between columns


def write(
    folder: Path,
    *,
    name: str,
    tables: Sequence[Table],
    methods: str,
    checklist: Sequence[tuple[str, str]],
    figures: Mapping[Path, Plot],
) -> list[Path]:
    """Writes ID.tex for each table, methods.tex, checklist.tex, and figures.tex with the given pictures of plots.

    name: the study's, in front of every label, so that several studies fit in one document.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{one.id}.tex": table(one, name=name) for one in tables}
    texts["methods.tex"] = escape(methods) + "\n"
    items = "".join(f"\\item[{escape(what)}] {escape(said)}.\n" for what, said in checklist)
    texts["checklist.tex"] = f"\\begin{{description}}\n{items}\\end{{description}}\n"
    if figures:
        texts["figures.tex"] = "\n".join(_figure(path, plot, name) for path, plot in figures.items())
    for file, text in texts.items():
        (folder / file).write_text(text)
    return [folder / file for file in texts]


def table(one: Table, *, name: str) -> str:
    """A booktabs table with caption and label; many rows make it a longtable. What is best is bold.

    Columns that do not fit beside each other stand below each other, each panel with the rows' names.
    """
    label = f"\\label{{tab:{name}-{one.id}}}"
    caption = f"\\caption{{{escape(one.title)}. {escape(one.note).replace('* ', 'Bold: ')}}}{label}"
    panels = [_panel(one, places) for places in _panels(one)]
    if len(one.rows) > LONG:
        tops = [f"{caption}\\\\\n", *([""] * (len(panels) - 1))]
        long = (
            f"\\begin{{longtable}}{{{columns}}}\n{top}"
            f"\\toprule\n{head}\n\\midrule\n\\endfirsthead\n\\toprule\n{head}\n\\midrule\n\\endhead\n"
            f"{body}\n\\bottomrule\n\\end{{longtable}}\n"
            for top, (columns, head, body) in zip(tops, panels, strict=True)
        )
        return f"{{\\small\\setlength{{\\LTcapwidth}}{{\\linewidth}}\n{''.join(long)}}}\n"
    plain = (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        for columns, head, body in panels
    )
    between = "\n\\medskip\n\n"
    return f"\\begin{{table}}\n\\centering\n{caption}\n\\small\n{between.join(plain)}\\end{{table}}\n"


def _panels(one: Table) -> list[list[int]]:
    """Places of the columns that fit on a page together; the first, which names a row, is in every panel."""
    widths = [
        max(len(text) for text in (head, *(row[place].text for row in one.rows))) + GAP_SIGNS
        for place, head in enumerate(one.header)
    ]
    panels = [[0]]
    for place in range(1, len(widths)):
        if len(panels[-1]) > 1 and sum(widths[own] for own in panels[-1]) + widths[place] > PAGE_SIGNS:
            panels.append([0])
        panels[-1].append(place)
    return panels


def _panel(one: Table, places: Sequence[int]) -> tuple[str, str, str]:
    """(columns, head, body) of some columns of a table."""
    columns = "".join("r" if _is_number(one, place) else "l" for place in places)
    head = " & ".join(escape(one.header[place]) for place in places) + r" \\"
    return columns, head, "\n".join(" & ".join(_cell(row[place]) for place in places) + r" \\" for row in one.rows)


def _figure(path: Path, plot: Plot, name: str) -> str:
    caption = f"\\caption{{{escape(plot.title)}. {escape(plot.summary)}}}\\label{{fig:{name}-{plot.id}}}"
    return f"\\begin{{figure}}\n\\centering\n\\includegraphics{{{path.name}}}\n{caption}\n\\end{{figure}}\n"


def escape(text: str) -> str:
    """Text from records as LaTeX text: no sign of it is a command."""
    return " ".join("".join(ESCAPES.get(sign, sign) for sign in text).split())


def _cell(cell: Cell) -> str:
    text = escape(cell.text).replace("-", "$-$", 1) if _negative(cell) else escape(cell.text)
    return f"\\textbf{{{text}}}" if cell.best else text


def _negative(cell: Cell) -> bool:
    return isinstance(cell.value, float) and cell.value < 0


def _is_number(one: Table, place: int) -> bool:
    values = [row[place].value for row in one.rows]
    return bool(values) and all(isinstance(value, float | np.floating) for value in values)
