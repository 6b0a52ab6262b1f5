"""The file that says what ``sweep.py`` tries: read, and checked before any work begins.

``sweeps/captioner.toml`` is one, with comments. Refuses to know the tuner.
"""

import dataclasses
import pathlib
import tomllib

from keras_vlm.core.checks import DataError, check_choice, check_number, suggest
from keras_vlm.training.runs import RUNS

# What is not for a sweep file to say: the command line has them, or the sweep itself.
NOT_OPTIONS = {
    "data": "type it after the command",
    "out": "type it as --out",
    "seed": "write seeds = [...] above the tables",
}
NO_RANGE = "a list of values, or {low, high} of a range, with log or step"


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: the least.
        high: the greatest.
        step: what lies between neighbours, or None for any number.
        log: whether logarithms are drawn evenly, in place of the numbers.
    """

    low: float
    high: float
    step: float | None = None
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a sweep tries.

    Attributes:
        task: a key of ``RUNS``.
        data: name of a data source.
        base: options that all trials have.
        space: for each option that differs a list of values or a ``Range``.
        trials: combinations that are drawn.
        best: combinations that are trained with all seeds.
        seeds: the first is that of the trials.
        first_epochs: epochs after which a trial is first compared.
        one_in: of so many trials one goes on.
    """

    task: str
    data: str
    base: dict
    space: dict
    trials: int = 12
    best: int = 2
    seeds: tuple = (0, 1, 2)
    first_epochs: int = 1
    one_in: int = 3

    def make_run(self, out, seed, chosen):
        """Makes the run of a combination.

        Args:
            out: its output folder.
            seed: its seed.
            chosen: a value for each option of ``space``.

        Returns:
            A run of the task.
        """
        kind, _ = RUNS[self.task]
        return kind(**{**self.base, **chosen}, data=self.data, out=str(out), seed=seed)

    def ends(self):
        """Returns for each option of ``space`` its values, or the ends of its range."""
        return {
            name: [values.low, values.high] if isinstance(values, Range) else values
            for name, values in self.space.items()
        }

    def first_values(self):
        """Returns the first value of each option of ``space``."""
        return {name: values[0] for name, values in self.ends().items()}


def read_sweep(path, data, *, trials=None, epochs=None):
    """Reads a sweep file.

    Args:
        path: a TOML file.
        data: name of a data source.
        trials: in place of those of the file, or None.
        epochs: in place of those of the file, or None.

    Returns:
        A ``Sweep``.

    Raises:
        FileNotFoundError: there is no such file.
        DataError: the file is damaged, or says what cannot be; the message names the key.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such sweep file.")
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}. A sweep file is TOML.") from error
    base, space = (found.pop(name, {}) for name in ("base", "space"))
    if trials is not None:
        found["trials"] = trials
    if epochs is not None and isinstance(base, dict):
        base["epochs"] = epochs
    try:
        return _make_sweep(data, found, base, space)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _make_sweep(data, settings, base, space):
    """Makes a ``Sweep`` of what a file holds.

    Raises:
        ValueError: it says what cannot be.
    """
    known = [field.name for field in dataclasses.fields(Sweep) if field.name != "data"]
    for name in settings:
        if name not in known:
            raise ValueError(
                f"key {name!r} is unknown.{suggest(name, known)} Options of the training belong "
                "in [base] or [space]."
            )
    if "task" not in settings:
        raise ValueError(f"key 'task' is missing. It is one of {', '.join(map(repr, RUNS))}.")
    check_choice("sweep", "task", settings["task"], RUNS)
    fields = {field.name: field for field in dataclasses.fields(RUNS[settings["task"]][0])}
    _check_names(settings["task"], fields, {"base": base, "space": space})
    sweep = Sweep(
        data=data,
        base={name: _read_value("base", fields[name], value) for name, value in base.items()},
        space={name: _read_values(fields[name], values) for name, values in space.items()},
        **{**settings, "seeds": _read_seeds(settings.get("seeds", Sweep.seeds))},
    )
    _check(sweep)
    return sweep


def _check_names(task, fields, tables):
    """Checks the names in [base] and [space].

    Raises:
        ValueError: one is not that of an option, or in the wrong table.
    """
    for table, entries in tables.items():
        if not isinstance(entries, dict):
            raise ValueError(f"[{table}] must be a table, got {entries!r}.")
        for name in entries:
            if name in NOT_OPTIONS:
                raise ValueError(f"[{table}] {name} must be left out: {NOT_OPTIONS[name]}.")
            if name not in fields:
                raise ValueError(
                    f"[{table}] {name} is no option of the task {task!r}.{suggest(name, fields)}"
                )
    if not tables["space"]:
        raise ValueError("table [space] is missing: it says which options differ, and how.")
    for name in tables["space"]:
        if name in tables["base"]:
            raise ValueError(f"{name} must be in [base] or in [space], got it in both.")
    # Trials are compared after the same epochs, of schedules that are equally long.
    if "epochs" in tables["space"]:
        raise ValueError("epochs must be in [base], the same for all trials, got it in [space].")


def _read_seeds(seeds):
    """Returns the seeds as a tuple.

    Raises:
        ValueError: they are no list of different whole numbers.
    """
    if not isinstance(seeds, list | tuple) or not seeds:
        raise ValueError(f"seeds must be a list of whole numbers, got {seeds!r}.")
    for seed in seeds:
        check_number("seeds", "each", seed, minimum=0, integer=True)
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ, got {list(seeds)}.")
    return tuple(seeds)


def _read_value(table, field, value):
    """Returns a value as its option takes it: TOML has no None, and whole numbers are integers.

    Raises:
        ValueError: the option takes no such value.
    """
    if value == "none" and isinstance(None, field.type):
        return None
    if type(value) is int and isinstance(0.5, field.type):
        return float(value)
    # To Python a bool is an int.
    if not isinstance(value, field.type) or (type(value) is bool and field.type is not bool):
        kind = getattr(field.type, "__name__", field.type)
        raise ValueError(f"[{table}] {field.name} must be {kind}, got {value!r}.")
    return value


def _read_values(field, values):
    """Returns a list of values, or a ``Range``.

    Raises:
        ValueError: it is neither, or has what the option does not take.
    """
    where = f"[space] {field.name}"
    if isinstance(values, list):
        read = [_read_value("space", field, value) for value in values]
        if not read or len(set(read)) < len(read):
            raise ValueError(f"{where} must be different values, one at least, got {values!r}.")
        return read
    names = [part.name for part in dataclasses.fields(Range)]
    if not isinstance(values, dict) or not {"low", "high"} <= set(values) <= set(names):
        raise ValueError(f"{where} must be {NO_RANGE}, got {values!r}.")
    numbers = {
        name: _read_value("space", field, values[name])
        for name in ("low", "high", "step")
        if name in values
    }
    if not all(type(number) in {int, float} for number in numbers.values()):
        raise ValueError(f"{where} is no number: it must be a list of values, got {values!r}.")
    found = Range(**numbers, log=values.get("log", False))
    if type(found.log) is not bool or (found.log and found.step is not None):
        raise ValueError(f"{where} must have log = true or a step, not both, got {values!r}.")
    if found.low >= found.high or (found.log and found.low <= 0):
        limit = "0 < low < high" if found.log else "low < high"
        raise ValueError(f"{where} must have {limit}, got {values!r}.")
    if found.step is not None and found.step <= 0:
        raise ValueError(f"{where} must have a step above 0, got {values!r}.")
    return found


def _check(sweep):
    """Checks the numbers, and each value of the space beside the first ones of the others.

    Raises:
        ValueError: something cannot be.
    """
    for name, least in (("trials", 1), ("best", 0), ("first_epochs", 1), ("one_in", 2)):
        check_number("sweep", name, getattr(sweep, name), minimum=least, integer=True)
    first = sweep.first_values()
    for name, values in sweep.ends().items():
        for value in values:
            try:
                sweep.make_run("", sweep.seeds[0], {**first, name: value})
            except ValueError as error:
                raise ValueError(f"with [space] {name} = {value!r}: {error}") from error
