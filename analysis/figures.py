"""Plots -> plotly figures and the scripts that draw them: the only place that imports plotly. No files.

One template, one palette; each group has a shape as well as a colour. Ink and grid lines take the page's colours by
CSS, so one figure serves light and dark. Texts from records are escaped here: plotly reads some markup in labels.
"""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go
import plotly.offline

from analysis.plots import PALETTE, Chart, Grid, Line, Marks, Plot, short

SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon")
INK = "#808080"  # seen on white and on near-black
GRID = "#D9D9D9"
CONFIG = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,  # on by default in plotly.js 4: a button that uploads the data
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}

AXIS = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True, "title": {"standoff": 8}}

TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 64, "r": 16, "t": 34, "b": 56},
        "xaxis": AXIS,
        "yaxis": AXIS,
        "legend": {"orientation": "h", "x": 0, "y": -0.2, "yanchor": "top", "bgcolor": "rgba(0,0,0,0)"},
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": PALETTE[0]},
    }
)


def library() -> str:
    """plotly.js as one script, to be embedded once in a page."""
    return plotly.offline.get_plotlyjs()


def draw(plot: Plot) -> go.Figure:
    """The figure of a Chart or a Grid; the title stands in the page, not in the figure."""
    if isinstance(plot, Grid):
        figure = _grid(plot)
    elif isinstance(plot, Chart):
        figure = _chart(plot)
    else:
        raise TypeError(f"{type(plot).__name__} is neither a Chart nor a Grid")
    return figure.update_layout(template=TEMPLATE)


def to_json(plot: Plot) -> str:
    """The figure as JSON that may stand inside a script element; equal plots give equal text."""
    text = draw(plot).to_json() or ""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _chart(plot: Chart) -> go.Figure:
    figure = go.Figure()
    for band in plot.bands:
        x = [*band.x, *reversed(band.x)]
        y = [*band.high, *reversed(band.low)]
        fill = {"fill": "toself", "fillcolor": "rgba(128,128,128,0.25)", "line": {"width": 0}}
        figure.add_scatter(x=x, y=y, mode="lines", name=escape(band.name), hoverinfo="skip", **fill)
    for line in plot.lines:
        figure.add_trace(_line(line))
    for marks in plot.marks:
        figure.add_trace(_marks(marks))
    figure.update_xaxes(title_text=escape(plot.x_label), type="log" if plot.log_x else None)
    figure.update_yaxes(title_text=escape(plot.y_label), rangemode="tozero" if plot.from_zero else "normal")
    if any(isinstance(value, str) for marks in plot.marks for value in marks.x):
        figure.update_xaxes(type="category")
    if plot.ticks:
        figure.update_xaxes(tickvals=list(plot.ticks), ticktext=[f"{tick:g}" for tick in plot.ticks])
    return figure


def _line(line: Line) -> go.Scatter:
    return go.Scatter(
        x=list(line.x),
        y=list(line.y),
        mode="lines",
        name=escape(short(line.name)),
        legendgroup=escape(line.name),
        showlegend=line.in_legend,
        hoverinfo="skip" if line.step else "all",
        line={
            "color": INK if line.style is None else PALETTE[line.style % len(PALETTE)],
            "width": 2 if line.style is None else 1.3,
            "dash": "dash" if line.dashed else "solid",
            "shape": "hv" if line.step else "linear",
        },
    )


def _marks(marks: Marks) -> go.Scatter:
    colour = PALETTE[marks.style % len(PALETTE)]
    shape = SHAPES[marks.style % len(SHAPES)] + ("-open" if marks.hollow else "")
    return go.Scatter(
        x=list(marks.x),
        y=list(marks.y),
        mode="markers+text" if marks.labels else "markers",
        name=escape(short(marks.name)),
        text=[escape(short(text)) for text in marks.labels] or None,
        textposition="middle right",
        textfont={"size": 10},
        cliponaxis=False,
        marker={"color": colour, "symbol": shape, "size": 9, "line": {"width": 1.5 if marks.hollow else 0}},
        error_y=_bars(marks, colour),
        hovertext=["<br>".join(escape(line) for line in lines) for lines in marks.hovers] or None,
        hovertemplate="%{hovertext}<extra></extra>" if marks.hovers else None,
    )


def _bars(marks: Marks, colour: str) -> dict[str, object] | None:
    if not marks.low:
        return None
    up = [_length(high - y) for y, high in zip(marks.y, marks.high, strict=True)]
    down = [_length(y - low) for y, low in zip(marks.y, marks.low, strict=True)]
    return {"array": up, "arrayminus": down, "symmetric": False, "thickness": 1, "width": 3, "color": colour}


def _length(value: float) -> float:
    """A bar's length; none where there is no interval (NaN)."""
    return value if value == value else 0.0


def _grid(plot: Grid) -> go.Figure:
    figure = go.Figure(
        go.Heatmap(
            x=[escape(short(name)) for name in plot.columns],
            y=[escape(short(name)) for name in plot.lines],
            z=[list(line) for line in plot.values],
            text=[list(line) for line in plot.texts],
            texttemplate="%{text}",
            hovertemplate=f"{escape(plot.x_label)} %{{x}}<br>{escape(plot.y_label)} %{{y}}<br>%{{text}}<extra></extra>",
            colorscale="Cividis",
            colorbar={"title": {"text": escape(plot.colour_label), "side": "right"}, "thickness": 12},
            xgap=2,
            ygap=2,
        )
    )
    figure.update_xaxes(title_text=escape(plot.x_label), type="category", showgrid=False)
    figure.update_yaxes(title_text=escape(plot.y_label), type="category", showgrid=False)
    return figure
