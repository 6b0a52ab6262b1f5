"""Training that survives: callbacks, whole runs, and the scores of free-running models."""
