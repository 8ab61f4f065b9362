"""Which data pushes a model which way: by counting, by regression over runs, and by training on one window or another."""
