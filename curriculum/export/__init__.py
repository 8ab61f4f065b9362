"""A mix in other trainers' own configuration, one file a target, each saying what was lost; and mixes read from theirs."""
