# An accuracy sweep's rows against the samples beside them, and who made these.
exec python3 tests/checks/eval.py
