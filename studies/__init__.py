"""Optuna studies: storage, samplers, the constraint, what a trial records, its front, and its pictures.

The names worth knowing stand in the modules: `studies.store.storage.open_storage`, `studies.front.front`,
`studies.record.Record`, `studies.pictures.plots.front_plot`. Nothing is imported here, so that a command pays
only for what it uses (pandas, matplotlib and plotly take a second together).
"""

if __name__ != "slimfront.studies":
    raise ImportError("slimfront's package studies is imported as slimfront.studies")
