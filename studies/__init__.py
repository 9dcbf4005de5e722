"""Optuna studies: storage, samplers, the constraint, what a trial records, its front, and its pictures.

The names worth knowing stand in the modules: `studies.storage.open_storage`, `studies.front.front`,
`studies.record.Record`, `studies.plots.front_plot`. Nothing is imported here, so that a command pays only for what it
uses (pandas, matplotlib and plotly take a second together).
"""
