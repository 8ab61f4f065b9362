"""The study: find a curriculum, prove it, write it down. Guided tour, in the order of work:

study        what is searched, as a value; study_file reads it
exposure     matrices of proportions whose exposure is exact
space        parameters <-> curricula
controls     curricula of equal exposure to be compared with
workers      runs on several processes; one that dies is replaced, its run done again
proposals    Optuna proposes curricula (the only place that knows it)
objective    a run's trajectory -> measures and constraints
finalists    candidates repeated on fresh seeds beside the controls
verdict      what may honestly be claimed
coordinator  all of it, resumable at any instant
"""
