"""A study's settings: what a `studies/*.toml` says, with the command line's changes on top."""

from slimfront.studies.settings.faults import SettingsError
from slimfront.studies.settings.model import EarlyStopping, Settings

__all__ = ["EarlyStopping", "Settings", "SettingsError"]
