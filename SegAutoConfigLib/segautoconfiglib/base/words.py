"""Numbers of things, as people say them."""


def counted(number: int, noun: str) -> str:
    """For example "1 case" or "3 cases"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
