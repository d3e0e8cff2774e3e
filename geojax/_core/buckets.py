"""Sizes that arrays are padded to, so that those of many lengths share a compiled program."""

# Up to this many of anything, all share one size.
_SMALLEST = 32


def bucket(count: int) -> int:
    """The smallest of 4, 5, 6 or 7 times a power of two that holds so many; zero stays zero.

    At most a quarter is padding, and there are four sizes per octave.

    Example:
        >>> [bucket(n) for n in (0, 5, 100, 129, 1000)]
        [0, 32, 112, 160, 1024]
    """
    if count <= _SMALLEST:
        return _SMALLEST if count else 0
    step = 2 ** ((count - 1).bit_length() - 3)
    return -(-count // step) * step
