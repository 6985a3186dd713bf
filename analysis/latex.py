"""Tables, methods and checklist as LaTeX for a manuscript: booktabs, numbers as on the page, texts escaped.

The document needs `\\usepackage{booktabs,longtable}`; each file is `\\input` as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

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


def write(
    folder: Path,
    *,
    tables: Sequence[Table],
    methods: str,
    checklist: Sequence[tuple[str, str]],
    figures: Sequence[Path],
) -> list[Path]:
    """Writes ID.tex for each table, methods.tex, checklist.tex, and figures.tex that includes the given pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {f"{one.id}.tex": table(one) for one in tables}
    texts["methods.tex"] = escape(methods) + "\n"
    items = "".join(f"\\item[{escape(what)}] {escape(said)}.\n" for what, said in checklist)
    texts["checklist.tex"] = f"\\begin{{description}}\n{items}\\end{{description}}\n"
    if figures:
        texts["figures.tex"] = "".join(f"\\includegraphics{{{path.name}}}\n" for path in figures)
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


def table(one: Table) -> str:
    """A booktabs table with caption and label; many rows make it a longtable. What is best is bold."""
    columns = "".join("r" if _is_number(one, place) else "l" for place in range(len(one.header)))
    head = " & ".join(map(escape, one.header)) + r" \\"
    body = "\n".join(" & ".join(map(_cell, row)) + r" \\" for row in one.rows)
    caption = f"\\caption{{{escape(one.title)}. {escape(one.note).replace('* ', 'Bold: ')}}}\\label{{tab:{one.id}}}"
    inside = f"\\toprule\n{head}\n\\midrule\n"
    if len(one.rows) > LONG:
        top = f"\\begin{{longtable}}{{{columns}}}\n{caption}\\\\\n{inside}\\endhead\n"
        return f"{top}{body}\n\\bottomrule\n\\end{{longtable}}\n"
    top = f"\\begin{{table}}\n\\centering\n{caption}\n\\begin{{tabular}}{{{columns}}}\n{inside}"
    return f"{top}{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"


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
