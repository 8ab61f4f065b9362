"""One typed function a verb; each prints and writes files, and returns the exit code."""
