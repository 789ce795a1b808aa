# eval --workers: the same rows by any number of processes, to the sample after kill -9, and no orphans.
exec python3 tests/checks/workers.py
