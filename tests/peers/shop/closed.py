"""What the old project had and the new one lacks."""


def errand() -> None:
    """Was a job."""


class Parcel:
    """Was an argument of a job."""
