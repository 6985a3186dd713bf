"""Read records, compute, draw, write: `python -m analysis report STORAGE/STUDY`.

table reads; bootstrap, compare, laws, pareto and theory compute (numpy and scipy only); configs, views and trends put
results into the shape of a plot; figures (plotly) and vectors (matplotlib) draw; report and evidence write.
No torch, no ray, no GPU.
"""
