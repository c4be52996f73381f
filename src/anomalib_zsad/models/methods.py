"""The methods that every command knows."""

METHODS = ("BayesPFL", "CoPS")


def find_method(name: str) -> type:
    """The Lightning module of a method, whatever the case of its name.

    Raises:
        ValueError: There is no such method.
    """
    import anomalib_zsad

    for method in METHODS:
        if method.lower() == name.lower():
            return getattr(anomalib_zsad, method)
    msg = f"There is no model {name!r}; give {' or '.join(METHODS)}."
    raise ValueError(msg)
