"""The plan: the exact integer compilation of a mix. Guided tour, from the schedule down to one sample:

schedule      W_s(n), the integral of each stream's proportion, exact, in closed form
allocation    blocks of positions and how many samples of each stream every block holds
permutation   keyed permutations of [0, n) that need no table
windows       a stream's j-th draw -> (epoch, sample), window by window
window_files  score files and lists of windows, read from Parquet
plan          `Plan`: run position -> (stream, epoch, sample); `counts`; edits of the future
"""

from curriculum.plan.plan import Plan
from curriculum.plan.windows import default_window

__all__ = ["Plan", "default_window"]
