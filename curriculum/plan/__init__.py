"""The plan: the exact integer compilation of a mix. Guided tour, from the schedule down to one sample:

schedule      W_s(n), the integral of each stream's proportion, exact, in closed form
allocation    blocks of positions and how many samples of each stream every block holds
lanes         the same counts dealt over several lanes, each lane's positions and draws exact, nothing walked
permutation   keyed permutations of [0, n) that need no table
subset        which samples of a stream are played, where not all are
windows       a stream's j-th draw -> (epoch, sample, window), window by window
window_files  score files and lists of windows, read from Parquet
ownership     which windows belong to which lane, and in which order a lane plays its own
segment       all that one mix decides about a stretch of the run
past          what came before a pass or an edit, and how it is written down
ledger        each lane's draws followed through segments, edits and passes, down to whose sample they are
pages         runs of blocks, located at once and remembered (in a `cache`)
plan          `Plan`: run position -> (stream, epoch, sample); `counts`, `windows`; edits of the future
"""

from curriculum.plan.plan import Plan
from curriculum.plan.windows import default_window

__all__ = ["Plan", "default_window"]
