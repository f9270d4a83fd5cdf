"""Replacing private names of a pinned package, with a refusal instead of a surprise where one is gone."""

import importlib
import inspect
from importlib.metadata import version

PINNED = "1.5.33"


class NotThere(SystemExit):
    """Ends the launcher with a sentence; nothing has been served yet."""


def check_version():
    found = version("ministack")
    if found != PINNED:
        raise NotThere(
            f"the sandbox replaces private names of ministack {PINNED}, found {found}: "
            "install what tests/sandbox/python/requirements.txt pins, "
            "or check every module in gaps/ against the new one"
        )


def private(module, name, parameters=None):
    """The object `module.name` of ministack; `parameters` are those a function must begin with."""
    try:
        found = getattr(importlib.import_module(f"ministack.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise NotThere(
            f"ministack {version('ministack')} has no {module}.{name}, which the sandbox needs: {error}"
        ) from error
    if parameters is not None:
        actual = list(inspect.signature(found).parameters)[: len(parameters)]
        if actual != list(parameters):
            raise NotThere(
                f"ministack's {module}.{name} takes {actual}, the sandbox expects {list(parameters)}"
            )
    return found


def replace(module, name, parameters, make):
    """Puts `make(original)` in the place of a function, after checking that the original is what was
    expected.
    """
    original = private(module, name, parameters)
    setattr(importlib.import_module(f"ministack.{module}"), name, make(original))
