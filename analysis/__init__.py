"""Read records, compute, draw, write: `python -m analysis report STORAGE/STUDY`.

table reads; bootstrap, compare, laws and pareto compute (numpy and scipy only); views puts their results into the shape of
a plot; figures (plotly) and vectors (matplotlib) draw; page and report write. No torch, no ray, no GPU.
"""
