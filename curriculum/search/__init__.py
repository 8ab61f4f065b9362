"""The study: find a curriculum, prove it, write it down. Guided tour, in the order of work:

study          what is searched, as a value; study_file reads it, study_checks its whole; target: repetition as in the full run
space          parameters <-> curricula: proportions at their timing, of exact exposure (exposure) or under caps
controls       curricula of equal exposure to be compared with
executor       who trains runs: workers here, ray_workers on a cluster, joined_workers with other processes (shared_runs)
proposer       what a sampler is; samplers by name: Optuna's, the surrogate's (acquisition), published peers (baselines)
proposals      the trials on disk, and what a proposer may know of them; reuse: what an older study knows
objective      a run's trajectory -> measures and constraints; pareto: two objectives; pruning: hopeless trials ended early
trial_loop     proposals asked for, trained, told
candidates     what may be the best repeated (finalists: the statistics of it)
proof          finalists beside the controls, on fresh seeds
verdict        what may honestly be claimed (statistics: how sure)
coordinator    all of it, resumable at any instant
"""
