"""Events put into bins, as cosipy's notebooks ask for it."""


class BinnedData:
    """Placeholder."""
