"""One module per study, of the study's own name: `answer(evidence)` gives its verdict and its plots.

A study without a module is answered by `general`.
"""
