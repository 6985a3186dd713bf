"""How a trial ends before its steps are done. Raised by what it reports to; standard library only."""


class Stopped(Exception):
    """The scheduler wants no more of it: what it has so far becomes a STOPPED outcome."""


class Interrupted(BaseException):
    """It leaves without a record and goes on from its checkpoint, later or elsewhere. Not an error of the trial."""
