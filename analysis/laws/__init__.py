"""Laws fitted to tables: what they are, their fit, its status and its uncertainty. numpy and scipy only.

law: the form. vocabulary: those with names. starts, descent: the search. fitting: the Fit. profile, spread: what the
data hold of it.
"""

from analysis.laws.descent import Objective
from analysis.laws.fitting import SQUARES, Fit, FitStatus, fit
from analysis.laws.law import FitError, Law, written
from analysis.laws.vocabulary import LAWS

__all__ = ["LAWS", "SQUARES", "Fit", "FitError", "FitStatus", "Law", "Objective", "fit", "written"]
