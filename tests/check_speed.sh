# A speed sweep's rows against the repetitions beside them, and what --dry-run says.
exec python3 tests/checks/speed.py
