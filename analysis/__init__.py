"""Read records, compute, draw, write: `python -m analysis report STORAGE/STUDY`.

table reads; bootstrap, compare, laws and pareto compute (numpy and scipy only); views and trends put their results into
the shape of a plot; figures (plotly) and vectors (matplotlib) draw; report writes. No torch, no ray, no GPU.
"""
