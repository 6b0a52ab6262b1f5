"""Argument checks with one voice: what was wrong, what was received, what to do.

Refuses to know any model. Errors read
``<where>: <argument> must be <expected>, got <received>. <what to do>.``
"""

import difflib


class DataError(ValueError):
    """Input data is wrong; the message names the file, the line and the key."""


def suggest(name, choices):
    """Returns ``" Did you mean 'x'?"`` for the closest of ``choices``, or an empty string."""
    close = difflib.get_close_matches(str(name), [str(choice) for choice in choices], n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def check_choice(where, argument, value, choices):
    """Returns ``value`` if it is one of ``choices``.

    Args:
        where: name of the public function that the user called.
        argument: name of the argument.
        value: what the user passed.
        choices: a collection of allowed names.

    Returns:
        ``value``, unchanged.

    Raises:
        ValueError: ``value`` is not among ``choices``; the message lists them.
    """
    if not isinstance(value, str) or value not in choices:
        allowed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(
            f"{where}: {argument} must be one of {allowed}, got {value!r}."
            f"{suggest(value, choices)}"
        )
    return value


def check_number(where, argument, value, *, minimum, maximum=None, integer=False):
    """Returns ``value`` if it is a number within the closed range [minimum, maximum].

    Args:
        where: name of the public function that the user called.
        argument: name of the argument.
        value: what the user passed.
        minimum: smallest allowed value.
        maximum: largest allowed value, or None for no limit.
        integer: whether a whole number is required.

    Returns:
        ``value``, unchanged.

    Raises:
        ValueError: ``value`` has the wrong type or is out of range.
    """
    kinds = int if integer else (int, float)
    in_range = (
        isinstance(value, kinds)
        and not isinstance(value, bool)
        and value >= minimum
        and (maximum is None or value <= maximum)
    )
    if not in_range:
        kind = "a whole number" if integer else "a number"
        limit = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{where}: {argument} must be {kind} {limit}, got {value!r}.")
    return value


def check_alike(where, argument, values, traits, advice):
    """Raises unless there are two values or more that share their traits.

    Args:
        where: name of the public function that the user called.
        argument: name of the argument.
        values: a list of what the user passed.
        traits: dict from what a trait is called to a function that reads it of a value.
        advice: what to do where a trait differs, a sentence.

    Raises:
        ValueError: there are fewer than two, or they differ.
    """
    if len(values) < 2:
        raise ValueError(f"{where}: {argument} must be two or more, got {len(values)}.")
    for trait, read in traits.items():
        for number, value in enumerate(values[1:], 1):
            if read(value) != read(values[0]):
                raise ValueError(
                    f"{where}: {argument} must have the same {trait}, but number {number} has "
                    f"another than number 0. {advice}"
                )


def resolve_heads(where, num_heads, width):
    """Returns the number of attention heads for a width.

    Args:
        where: name of the caller, for the message.
        num_heads: what the user asked for, or None for heads of 64 units, or a little more.
        width: the width that the heads share.

    Returns:
        A divisor of ``width``.

    Raises:
        ValueError: ``num_heads`` does not divide ``width``.
    """
    if num_heads is None:
        return max(heads for heads in range(1, max(1, width // 64) + 1) if width % heads == 0)
    if width % num_heads:
        raise ValueError(
            f"{where}: num_heads must divide the width {width}, got {num_heads}. "
            "Leave it out for heads of about 64 units."
        )
    return num_heads


def resolve(where, argument, value, table, kind):
    """Turns a name or an object into an object: the rule for every option that takes either.

    Args:
        where: name of the public function that the user called.
        argument: name of the argument.
        value: a key of ``table``, or an instance of ``kind``.
        table: a literal dict from a name to a function without arguments that makes the object.
        kind: the class that an object must be an instance of.

    Returns:
        An instance of ``kind``.

    Raises:
        TypeError: ``value`` is neither a string nor an instance of ``kind``.
        ValueError: ``value`` is a string that ``table`` does not have.
    """
    if isinstance(value, kind):
        return value
    if not isinstance(value, str):
        raise TypeError(
            f"{where}: {argument} must be a name or a {kind.__name__}, got {value!r} "
            f"({type(value).__name__}). Names: {', '.join(table)}."
        )
    return table[check_choice(where, argument, value, table)]()
