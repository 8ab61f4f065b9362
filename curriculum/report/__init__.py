"""Pictures and tables for people: schedules, trajectories, progress and the end of a search, in the terminal."""
