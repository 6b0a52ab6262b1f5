"""Optional packages: imported where they are used, with an error that names the extra."""

import importlib


def import_extra(module, extra, purpose):
    """Imports an optional package.

    Args:
        module: dotted name, for example ``"pycocoevalcap.meteor.meteor"``.
        extra: name of the extra of keras-vlm that installs it.
        purpose: what needs it, for the message.

    Returns:
        The imported module.

    Raises:
        ImportError: the package is missing; the message gives the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package {module.partition('.')[0]!r}. "
            f"Install it with: pip install 'keras-vlm[{extra}]'."
        ) from error
