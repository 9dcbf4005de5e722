"""From a study file to its tables: bounded, in UTF-8 wherever it is read."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from slimfront.spaces import references
from slimfront.studies.foreign.files import read_small
from slimfront.studies.foreign.text import visible
from slimfront.studies.settings.faults import SettingsError

LARGEST_FILE = 2**20  # bytes of a study file
_LONGEST = 200  # characters of what a parser says
_TEXTS = ("name", "dataset")  # keys whose text may have a colon, and names no code

# A key of fifty parts. Those that there are have four; tomllib takes a minute for one of sixty thousand.
_ENDLESS_KEY = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}""")


def shipped(path: Path) -> Path:
    """The file; where there is none, slimfront's own of that name, such as "studies/quick.toml"."""
    own = Path(__file__).parent.parent / path.name
    return own if path.parent == Path("studies") and not path.exists() and own.exists() else path


def read(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """The tables of a study file, and what is wrong with the user's own code that it names, by its reference.

    That code is imported: the user gives it to this command.

    Raises:
        SettingsError: The file cannot be read, or is not TOML; the one line names it.
    """
    try:
        text = read_small(path, LARGEST_FILE).removeprefix("\ufeff")  # some editors begin a file with this mark
        if _ENDLESS_KEY.search(text):
            raise RecursionError
        written = tomllib.loads(text)
        named = references.named_in({key: value for key, value in written.items() if key not in _TEXTS})
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not text in UTF-8: byte {error.start:,} is none of it.") from None
    except RecursionError:
        raise SettingsError(f"{path} is not a study: it is nested too deeply.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML: {visible(error, most=_LONGEST)}.") from None
    except ValueError:  # Python reads no whole number of thousands of digits
        raise SettingsError(f"{path} is not a study: a number in it has thousands of digits.") from None
    faults = {}
    for reference in named:
        try:
            references.give(reference, path.parent)
        except references.CodeReferenceError as error:
            faults[reference] = str(error)
    return written, faults
